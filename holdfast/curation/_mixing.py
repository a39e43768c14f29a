"""Rates, exact quotas and draws of a mixture of tasks: what `mix` and `cocktail` share."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from holdfast.curation._measured import measured, questions
from holdfast.curation.base import CurationContext
from holdfast.tasks.task import Example, Task

Exhausted = Literal["first", "all", "cycle"]


@dataclass(frozen=True)
class Pool:
    """Tasks that share one part of a mixture; `share` is that part of all examples, None: in proportion to the capped sizes."""

    name: str
    sources: tuple[tuple[Example, ...], ...]
    share: float | None = None

    @property
    def sizes(self) -> list[int]:
        """Return the number of examples of each task."""
        return [len(source) for source in self.sources]


def rates(sizes: Sequence[int], cap: int | None = None, temperature: float = 1.0) -> list[float]:
    """Return r_m = min(e_m, cap)^(1 / temperature) / sum of these, for sets of e_m examples; an empty set has none.

    Source: Raffel et al. 2020 (T5), section 3.5.2; with the cap of Wei et al. 2022 (FLAN), section 2.4
    """
    weights = _weights(sizes, cap, temperature)
    total = sum(weights)
    return [weight / total if total else 0.0 for weight in weights]


def _weights(sizes: Sequence[int], cap: int | None, temperature: float) -> list[float]:
    capped = [size if cap is None else min(size, cap) for size in sizes]
    return [size ** (1 / temperature) if size else 0.0 for size in capped]


def pooled_rates(pools: Sequence[Pool], cap: int | None, temperature: float) -> list[list[float]]:
    """Return the rate of every source: first of the pools (their shares, and the rest by size), then within each by size. Sum 1.

    Raises:
        ValueError: the shares sum to more than 1, or to less where every pool has one; or a pool with a share has no examples.
    """
    weights = [sum(_weights(pool.sizes, cap, temperature)) for pool in pools]
    for pool, weight in zip(pools, weights, strict=True):
        if pool.share and not weight:
            raise ValueError(f"{pool.name}: has a share of the mixture and no training examples; leave it out")
    fixed = sum(pool.share or 0.0 for pool in pools)
    free = sum(weight for pool, weight in zip(pools, weights, strict=True) if pool.share is None)
    if fixed > 1 + 1e-9 or (not free and fixed < 1 - 1e-9):
        raise ValueError(f"the shares of {', '.join(pool.name for pool in pools)} sum to {fixed:g}; they must sum to 1")
    every: list[list[float]] = []
    for pool, weight in zip(pools, weights, strict=True):
        share = max(0.0, 1 - fixed) * weight / free if pool.share is None and free else pool.share or 0.0
        every.append([share * rate for rate in rates(pool.sizes, cap, temperature)])
    return every


def quotas(parts: Sequence[float], total: int) -> list[int]:
    """Return whole numbers that sum to `total`, each less than 1 away from its rate * total: the largest remainders are rounded up."""
    exact = [part * total for part in parts]
    counts = [math.floor(value) for value in exact]
    # Of equal remainders the first, so that the same rates give the same numbers everywhere.
    order = sorted(range(len(parts)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def total_size(sizes: Sequence[int], parts: Sequence[float], exhausted: Exhausted, size: int) -> int:
    """Return the number of examples of a mixture; set 0 is the target.

    `first`: the most (of `size`, where given) without an example twice; `all`: the least with every example; `cycle`: `size`, and
    without one as many as have each of the target's examples once.
    """
    # The tiny number takes off what float rounding adds: 3000 / (3 / 7) is 7000.000000000001.
    lasting = [count / part for count, part in zip(sizes, parts, strict=True) if part]
    if exhausted == "first":
        most = math.floor(min(lasting) + 1e-9)
        return min(size, most) if size else most
    if exhausted == "all":
        return math.ceil(max(lasting) - 1e-9)
    return size or round(sizes[0] / parts[0] if parts[0] else sum(sizes))


def mixture(
    pools: Sequence[Pool], parts: Sequence[Sequence[float]], exhausted: Exhausted, size: int, seed: int
) -> list[Example]:
    """Return examples in exact quotas, the sets in random order; a set is gone through whole before any of it comes again.

    `exhausted` and `size` say how many (see `total_size`); the first pool is the target. Within a set the order stays, so that the
    first demonstrations of a task are those that it has alone.
    """
    sources = list(chain.from_iterable(pool.sources for pool in pools))
    flat = list(chain.from_iterable(parts))
    counts = quotas(flat, total_size([len(source) for source in sources], flat, exhausted, size))
    queues, order = [], []
    for number, (source, count) in enumerate(zip(sources, counts, strict=True)):
        # Each set by itself: another share of one changes no draw of the others.
        draw = random.Random(f"{seed}:{number}")
        passes, rest = divmod(count, len(source) or 1)
        last = sorted(draw.sample(range(len(source)), rest)) if rest else []
        queues.append(iter([*source * passes, *(source[i] for i in last)]))
        order += [number] * count
    random.Random(f"{seed}:order").shuffle(order)
    return [next(queues[number]) for number in order]


def mixed_in(tasks: Sequence[Task], context: CurationContext) -> tuple[tuple[Example, ...], ...]:
    """Return the training examples of other tasks as they are mixed in, without those that a task of the run is measured on.

    Each keeps its own template, but for the chat of the target's: two formats would tell the model which task it is in. A document is no
    turn of a chat and stands behind no demonstrations, and beside documents a task keeps its own chat, for there is no other.
    """
    held = set(measured((context.task, *context.general, *context.others)))
    sources = []
    for task in tasks:
        documents = task.template.asks_nothing or context.task.template.asks_nothing
        template = task.template if documents else replace(task.template, chat=context.task.template.chat)
        shown = () if task.template.asks_nothing else None
        sources.append(
            tuple(
                replace(
                    e,
                    template=template,
                    task=task.name,
                    demonstrations=e.demonstrations if shown is None else shown,
                    origin=f"mixed in: {task.name}/train[{number}]",
                )
                for number, e in enumerate(task.splits.get("train", ()))
                if held.isdisjoint((text, e.target) for text in questions(task.template, e))
            )
        )
    return tuple(sources)

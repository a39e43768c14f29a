"""Cocktail: the target, related tasks, general instructions and mathematics in stated shares."""

from collections.abc import Sequence
from itertools import chain
from statistics import fmean
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation._mixing import Exhausted, Pool, mixed_in, mixture, pooled_rates
from holdfast.curation.base import Curation, CurationContext
from holdfast.tasks.sources import expand
from holdfast.tasks.task import Example

POOLS = ("related", "general", "maths")


@dataclass(frozen=True)
class Cocktail(Curation):
    """Mix related tasks, general instructions and mathematics into the target's examples, each pool in a stated share.

    Multi-task fine-tuning with general instructions as a regulariser and mathematics for numeracy. Within a pool, tasks count by size
    up to `cap`. `general` is by default the run's general tasks; a share of 0 leaves a pool out, and with all at 0 the examples are
    those of the target, as they were. The paper states no shares; a tenth of general examples is ours (see `mix` for how mixed-in
    examples are asked). The cost is the time of the added examples alone. Its ablation is the plan docs/studies/cocktail.yaml.

    Source: Brief et al. 2024, "Mixing it up: the cocktail effect of multi-task fine-tuning on LLM performance" (arXiv 2410.01109)
    """

    related: str = Field(default="", description="TASK arguments of related tasks, with commas")
    general: str = Field(default="", description="TASK arguments of general tasks; empty: those of the run")
    maths: str = Field(default="", description="TASK arguments of mathematics")
    related_share: float = Field(default=0.0, ge=0, lt=1, description="part of the mixture that is related tasks")
    general_share: float = Field(default=0.1, ge=0, lt=1, description="part of the mixture that is general tasks")
    maths_share: float = Field(default=0.0, ge=0, lt=1, description="part of the mixture that is mathematics")
    unit: Literal["examples", "words"] = Field(default="examples", description="what the shares are parts of")
    cap: int | None = Field(
        default=3000, ge=1, description="most examples that a task of a pool counts for; none: no cap"
    )
    size: int = Field(default=0, ge=0, description="examples of the mixture; 0: as `exhausted` says")
    exhausted: Exhausted = Field(
        default="cycle",
        description="first: no example twice; all: every example; cycle: `size`, or each of the target's once; others come again",
    )

    def __post_init__(self) -> None:
        if sum(self._shares()) >= 1:
            raise ValueError(
                f"the shares of the pools sum to {sum(self._shares()):g}, which leaves nothing for the target"
            )
        for name, share in zip(POOLS, self._shares(), strict=True):
            if share and name != "general" and not getattr(self, name):
                raise ValueError(f"{name}_share={share:g}: {name} names no tasks; name some, or leave the share at 0")
        if self.exhausted == "all" and self.size:
            raise ValueError(
                "size: exhausted=all goes on until every example was taken, whatever the size; leave one out"
            )

    def tasks(self) -> tuple[str, ...]:
        """Return the tasks of the pools that are mixed in, suites as theirs."""
        return tuple(chain.from_iterable(self._named(name) for name in POOLS))

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the mixture in random order; with all shares at 0, the examples as they are.

        Raises:
            ValueError: there are no general tasks, or a pool has no examples.
        """
        if not any(self._shares()):
            return examples
        pools, others = [Pool("target", (tuple(examples),), 1 - sum(self._shares()))], list(context.others)
        for name, share in zip(POOLS, self._shares(), strict=True):
            count = len(self._named(name))
            tasks = context.general if name == "general" and not self.general else others[:count]
            del others[:count]
            if share:
                pools.append(Pool(name, mixed_in(tasks, context), share))
        parts = pooled_rates(pools, self.cap, 1.0)
        if self.unit == "words":
            parts = by_length(pools, parts)
        return mixture(pools, parts, self.exhausted, self.size, context.seed)

    def _shares(self) -> tuple[float, float, float]:
        return self.related_share, self.general_share, self.maths_share

    def _named(self, name: str) -> list[str]:
        """Return the TASK arguments of a pool; none where its share is 0."""
        arguments = [part.strip() for part in getattr(self, name).split(",") if part.strip()]
        return list(chain.from_iterable(map(expand, arguments))) if getattr(self, f"{name}_share") else []


def by_length(pools: Sequence[Pool], parts: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the rates in examples at which the words of the sources have the rates `parts`."""
    rates: list[list[float]] = []
    for pool, rates_of_pool in zip(pools, parts, strict=True):
        lengths = [fmean(map(_words, source)) if source else 1.0 for source in pool.sources]
        rates.append([rate / length for rate, length in zip(rates_of_pool, lengths, strict=True)])
    total = sum(map(sum, rates))
    return [[rate / total for rate in rates_of_pool] for rates_of_pool in rates]


def _words(example: Example) -> int:
    """Return about how many words an example has: of its fields and its target, at least 1."""
    return max(1, len(" ".join(map(str, (*example.fields.values(), example.target))).split()))

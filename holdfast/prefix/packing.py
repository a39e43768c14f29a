"""Rows as packed rows: where every token, soft-prompt vector and label goes. Integers only; no model is involved.

A packed row lays several rows out one after another, and holds what they have in common once: the soft prompt in front
of them, and every beginning that they share. What follows a row's last label is left out: nobody asks for it. It is a
forest, in depth-first order. A token sees itself and its ancestors, and its position is its depth, so that it computes
exactly what it would compute in its own row, alone.

In depth-first order the tokens below token k follow it without a gap. One integer per token therefore says who sees
what: `end[k]`, the index after the last token below k. Token q sees token k exactly when `k <= q < end[k]`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from heapq import heappush, heapreplace
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor

from holdfast.row import Row, sharing_keys

# What is computed of a row: its soft prompt's number or -1, its tokens' sharing keys.
Line = tuple[int, tuple[int, ...]]

ATTENTION = 3  # A packed row this many widths long spends as much on attention as on all the rest (measured on a CPU).
SHARE = 8  # Rows with this many first tokens in common are kept in one packed row; splitting them would compute more.
WORSE = 6  # The search for the best number of packed rows ends after so many that cost more than the best one so far.


@dataclass(frozen=True, slots=True)
class Packed:
    """R packed rows of S places, M soft-prompt vectors, N labels. A flat place counts through all packed rows."""

    tokens: Tensor  # [R, S] token ids; 0 at soft-prompt vectors and padding
    positions: Tensor  # [R, S] depth of each token in its own row, soft prompt included; 0 at padding
    end: Tensor  # [R, S] one after the last place that sees this place; padding is seen by itself only
    soft_index: Tensor  # [M] flat place of each soft-prompt vector
    soft_source: Tensor  # [M] which vector stands there, counted through all soft prompts, one after another
    label_index: Tensor  # [N] flat place that predicts each label: rows as given, label places ascending
    labels: Tensor  # [N] token ids
    weights: Tensor  # [N] float32
    row: Tensor  # [N] which of the given rows
    prompt: Tensor  # [R, S] the number of the prompt that the place belongs to; -1 where there is none, and at padding

    def to(self, device: torch.device | str) -> "Packed":
        """Return the same integers on another device."""
        return Packed(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


@dataclass(slots=True)
class Bundle:
    """Lines that stay together: their places in the sorted order, the prompt before them, the tokens they take."""

    members: list[int]
    prompt: int
    size: int


def pack(
    rows: Sequence[Row],
    prompt_lengths: Sequence[int] = (),
    budget: int | None = None,
    multiple: int = 1,
    width: int | None = None,
) -> Packed:
    """Lay rows out behind their soft prompts, in packed rows of about equal length.

    Few packed rows compute a prompt few times, and many short ones attend to less. What is cheapest is estimated from the
    model's width.

    Args:
        rows: At least one; `Row.prompt` is an index into `prompt_lengths`.
        prompt_lengths: P of each soft prompt.
        budget: The longest packed row, in places, where there is a limit. A single row that is longer with its prompt
            still gets a packed row.
        multiple: Round the packed length S up to a multiple of this.
        width: The model's width D. None takes attention to cost nothing: as few packed rows as the budget allows.

    Raises:
        ValueError: a row predicts its first token and has no soft prompt in front.
    """
    assert rows, "nothing to pack"
    lengths = [*prompt_lengths, 0]  # the last one is -1's: no prompt
    lines = [_line(row, key, lengths) for row, key in zip(rows, sharing_keys(rows), strict=True)]
    order = sorted(range(len(rows)), key=lines.__getitem__)
    ranked = [lines[i] for i in order]
    if budget is not None:
        budget = max(budget, *(lengths[prompt] + len(tokens) for prompt, tokens in lines))
    bins = _cheapest(ranked, lengths, budget, width)
    layouts = [_Layout(lengths, sum(lengths[ranked[i][0]] + len(ranked[i][1]) for i in members)) for members in bins]
    paths: dict[int, tuple[int, np.ndarray]] = {}
    for number, (layout, members) in enumerate(zip(layouts, bins, strict=True)):
        for rank in sorted(members):
            paths[order[rank]] = number, layout.add(ranked[rank], rows[order[rank]].tokens)
    length = -(-max(1, *(layout.cursor for layout in layouts)) // multiple) * multiple
    label_index: list[int] = []
    for i, (number, path) in sorted(paths.items()):
        # The slot before a label predicts it; a prompt's vectors stand in the path before the row's tokens.
        label_index += [number * length + path[lengths[lines[i][0]] + label - 1] for label in rows[i].labels]
    soft_index: list[int] = []
    for number, layout in enumerate(layouts):
        soft_index += [number * length + slot for slot in layout.soft_index]
    labels, weights, row_index = label_tensors(rows)
    return Packed(
        tokens=_table([layout.tokens for layout in layouts], length),
        positions=_table([layout.positions for layout in layouts], length),
        end=_table([[*layout.end, *range(layout.cursor + 1, length + 1)] for layout in layouts], length),
        soft_index=_long(soft_index),
        soft_source=_long(list(chain.from_iterable(layout.soft_source for layout in layouts))),
        label_index=_long(label_index),
        labels=labels,
        weights=weights,
        row=row_index,
        prompt=_table([[prompt + 1 for prompt in layout.prompts] for layout in layouts], length) - 1,
    )


def label_tensors(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what every implementation predicts, in its order: token ids [N], weights [N] (float32), row numbers [N]."""
    tokens: list[int] = []
    weights: list[float] = []
    numbers: list[int] = []
    for number, row in enumerate(rows):
        targets = row.targets or row.tokens
        tokens += [targets[label] for label in row.labels]
        weights += [row.weights[label] for label in row.labels]
        numbers += [number] * len(row.labels)
    return _long(tokens), torch.tensor(weights, dtype=torch.float32), _long(numbers)


def label_factors(rows: Sequence[Row]) -> Tensor | None:
    """Return `Row.factors` in the order of `label_tensors`: [N], float32, 1 for rows without; None where no row has any."""
    if not any(row.factors for row in rows):
        return None
    factors: list[float] = []
    for row in rows:
        factors += [row.factors[label] if row.factors else 1.0 for label in row.labels]
    return torch.tensor(factors, dtype=torch.float32)


def label_places(row: Row, length: int) -> list[int]:
    """Return `row.labels`, behind a soft prompt of that length.

    Raises:
        ValueError: the first token is to be predicted from nothing.
    """
    places = row.labels
    if places and places[0] + length == 0:
        raise ValueError(
            f"row {row.name or '(unnamed)'}: its first token is to be predicted, and nothing stands before it; put a "
            "beginning-of-sequence token, an input or a soft prompt in front"
        )
    return places


def shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the number of tokens that two rows have in common at their beginning."""
    most = min(len(first), len(second))
    return next((i for i in range(most) if first[i] != second[i]), most)


def _line(row: Row, key: tuple[int, ...], lengths: Sequence[int]) -> Line:
    prompt = -1 if row.prompt is None else row.prompt
    # The last label is predicted by the token before it, so that it and what follows need not be computed.
    places = label_places(row, lengths[prompt])
    return (prompt, key[: places[-1]]) if places else (-1, ())


def _cheapest(ranked: list[Line], lengths: Sequence[int], budget: int | None, width: int | None) -> list[list[int]]:
    """Return sorted lines in that number of packed rows that costs least: the ranks of each packed row's lines."""
    if budget is None and width is None:
        return [list(range(len(ranked)))]  # What one packed row holds is computed once.
    common = [0, *(shared(a[1], b[1]) if a[0] == b[0] else 0 for a, b in pairwise(ranked))]
    total = sum(len(tokens) - again for (_, tokens), again in zip(ranked, common, strict=True))
    best, least, worse = [], math.inf, 0
    bundles: list[Bundle] = []
    for count in _counts(ranked, lengths, total, budget, width):
        if not bundles or max(common) >= SHARE:  # Rows with little in common are bundles of their own for every number.
            bundles = _bundles(ranked, common, lengths, total / count, budget)
        bins, load = _spread(bundles, lengths, count)
        cost = len(bins) * load * (1 if width is None else ATTENTION * width + load)
        if cost < least and (budget is None or load <= budget):
            best, least, worse = bins, cost, 0
        elif best:
            worse += 1
            if worse == WORSE:
                break
    return best


def _counts(
    ranked: list[Line], lengths: Sequence[int], total: int, budget: int | None, width: int | None
) -> Iterator[int]:
    """Yield numbers of packed rows worth trying, ascending in steps of 2 ** (1/4) from below the estimated best one.

    C packed rows of `total` tokens and prompts of P places cost about `(total + C P) (3 D + P + total / C)` (see ATTENTION),
    which is least where `C = total / sqrt(P (3 D + P))`; more than `total` / longest row of them are not filled.
    """
    soft = sum(lengths[prompt] for prompt in {prompt for prompt, _ in ranked})
    estimate = 0 if width is None else total / max(1, *(len(tokens) for _, tokens in ranked))
    if width is not None and soft:
        estimate = min(estimate, total / math.sqrt(soft * (ATTENTION * width + soft)))
    lowest = max(estimate / 8, 0 if budget is None else total / budget)  # No fewer fit the budget.
    grid = {min(round(2 ** (i / 4)), len(ranked)) for i in range(64)}
    yield from sorted(count for count in grid if count >= lowest or count == len(ranked))


def _bundles(
    ranked: list[Line], common: list[int], lengths: Sequence[int], share: float, budget: int | None
) -> list[Bundle]:
    """Return sorted lines in bundles, where neighbours have SHARE tokens or more in common, up to a packed row's share."""
    bundles: list[Bundle] = []
    beginning = 0  # what all of the last bundle has in common, which every part of it computes
    for rank, ((prompt, tokens), again) in enumerate(zip(ranked, common, strict=True)):
        size = bundles[-1].size + len(tokens) - again if again >= SHARE else math.inf
        beginning = again if bundles and len(bundles[-1].members) == 1 else min(beginning, again)
        if size - beginning <= share and (budget is None or lengths[prompt] + size <= budget):
            bundles[-1].members.append(rank)
            bundles[-1].size = int(size)
        else:
            bundles.append(Bundle([rank], prompt, len(tokens)))
    return bundles


def _spread(bundles: list[Bundle], lengths: Sequence[int], count: int) -> tuple[list[list[int]], int]:
    """Return bundles in at most so many packed rows, and the length of the longest."""
    # The longest bundle first, each to where the packed row stays shortest: a long one placed last would stand out.
    bins: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    # Heaps of (load, packed row), in which a load is brought up to date when it comes first: of all packed rows, and of those
    # that hold a prompt.
    shortest = [(0, number) for number in range(count)]
    holding: dict[int, list[tuple[int, int]]] = {}
    for bundle in sorted(bundles, key=lambda bundle: -bundle.size):
        holders = holding.setdefault(bundle.prompt, [])
        for heap in (holders, shortest):
            while heap and heap[0][0] < loads[heap[0][1]]:
                heapreplace(heap, (loads[heap[0][1]], heap[0][1]))
        (load, best), prompt = shortest[0], lengths[bundle.prompt]
        if holders and holders[0] <= (load + prompt, best):
            load, best = holders[0]
        else:
            load += prompt
            heappush(holders, (load, best))
        bins[best] += bundle.members
        loads[best] = load + bundle.size
    return [members for members in bins if members], max(loads)


class _Layout:
    """One packed row while it is filled, in sorted order."""

    def __init__(self, lengths: Sequence[int], room: int) -> None:
        self.lengths = lengths
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.prompts: list[int] = []
        self.ends = np.zeros(room, np.int64)  # Allocated once, for as many places as the lines could need.
        self.soft_index: list[int] = []
        self.soft_source: list[int] = []
        self.last: Line = (-1, ())  # the line added last, and the places of its prompt and tokens
        self.path = np.empty(0, np.int64)

    @property
    def cursor(self) -> int:
        return len(self.tokens)

    @property
    def end(self) -> np.ndarray:
        return self.ends[: self.cursor]

    def add(self, line: Line, tokens: tuple[int, ...]) -> np.ndarray:
        """Place what the line before does not already hold; the places of this line's prompt and tokens [P + T]."""
        (last_prompt, last_key), (prompt, key), length = self.last, line, self.lengths[line[0]]
        if self.cursor and last_prompt == prompt:
            common = shared(last_key, key)
            kept, new = length + common, list(tokens[common : len(key)])
        else:
            # Another prompt: nothing of the path before is seen, and the vectors' slots hold token 0 until they are replaced.
            kept, new = 0, [0] * length + list(tokens[: len(key)])
            self.soft_index += range(self.cursor, self.cursor + length)
            start = sum(self.lengths[:prompt]) if length else 0
            self.soft_source += range(start, start + length)
        self.path = np.concatenate([self.path[:kept], np.arange(self.cursor, self.cursor + len(new))])
        self.positions += range(kept, kept + len(new))
        self.tokens += new
        self.prompts += [prompt] * len(new)
        # Every ancestor of the new tokens now ends behind them: this keeps `end` right for the whole path at once.
        self.ends[self.path] = self.cursor
        self.last = line
        return self.path


def _table(lines: list, length: int) -> Tensor:
    """Return lists of up to S integers as [R, S], the rest 0."""
    table = np.zeros((len(lines), length), np.int64)
    for target, line in zip(table, lines, strict=True):
        target[: len(line)] = line
    return torch.from_numpy(table)


def _long(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.long)

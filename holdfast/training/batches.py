"""Batches as a pure function of the seed and the step, so that a resumed run needs no data state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

import numpy as np

from holdfast.methods.base import Context, Method
from holdfast.row import Row


@dataclass(frozen=True)
class Stream:
    """Endless shuffled passes over `size` examples.

    `row(index, epoch)` makes the row of an example, or the rows of a group; the epoch is there for what is sampled anew each pass,
    such as demonstrations.
    """

    row: Callable[[int, int], Row | Sequence[Row]]
    size: int
    batch_size: int
    seed: int = 0

    @property
    def pass_steps(self) -> int:
        """Return the number of steps after which every example was there once."""
        return -(-self.size // self.batch_size)

    def batch(self, step: int) -> list[Row]:
        """Return the rows of step `step` (from 0); a batch may reach over the end of a pass."""
        return numbered(self.groups(range(step * self.batch_size, (step + 1) * self.batch_size)))

    def groups(self, positions: Sequence[int]) -> list[list[Row]]:
        """Return the rows of each example at these positions of the endless passes, counted from 0 through all of them."""
        groups = []
        for position in positions:
            epoch, index = divmod(position, self.size)
            groups.append(self._rows(int(_order(self.size, self.seed, epoch)[index]), epoch))
        return groups

    def sample(self, count: int) -> list[Row]:
        """Return the rows of the first `count` examples, for methods to prepare from."""
        return numbered(self.first(count))

    def first(self, count: int) -> list[list[Row]]:
        """Return the rows of each of the first `count` examples, in the order of the data, which no seed changes."""
        return [self._rows(i, 0) for i in range(min(count, self.size))]

    def _rows(self, index: int, epoch: int) -> list[Row]:
        rows = self.row(index, epoch)
        return [rows] if isinstance(rows, Row) else list(rows)


# Cached, because shuffling millions of rows at every step is slow; a batch may reach over two passes, and streams may be mixed.
@lru_cache(maxsize=8)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of `size` examples in one pass: uint32 `[size]`."""
    # 32 bits halve what the cache holds, and no data set has 4 billion examples.
    return np.random.default_rng([seed, epoch]).permutation(size).astype(np.uint32)


@dataclass(frozen=True)
class Mixture:
    """Several streams dealt in turn: every batch holds equally many rows of each, give or take one, whatever their sizes."""

    streams: Sequence[Stream]
    batch_size: int

    @property
    def pass_steps(self) -> int:
        """Return the number of steps after which every example of the largest stream was there once."""
        return -(-max(stream.size for stream in self.streams) * len(self.streams) // self.batch_size)

    def batch(self, step: int) -> list[Row]:
        """Return the rows of step `step` (from 0)."""
        positions, count = range(step * self.batch_size, (step + 1) * self.batch_size), len(self.streams)
        indices: list[list[int]] = [[] for _ in self.streams]
        # Counted through all steps: where a batch is no multiple of the streams, the next one goes on with the stream that is due.
        for position in positions:
            indices[position % count].append(position // count)
        # Each stream once a step, not once a row: more streams than `_order` caches would otherwise shuffle at every row.
        dealt = [iter(stream.groups(chosen)) for stream, chosen in zip(self.streams, indices, strict=True)]
        return numbered([next(dealt[position % count]) for position in positions])

    def sample(self, count: int) -> list[Row]:
        """Return about `count` rows, equally many of each stream."""
        of_each = -(-count // len(self.streams))  # Rounded up, so that no stream is left out of a small sample.
        # Numbered together: groups of two streams must not be taken for one.
        return numbered(list(chain.from_iterable(stream.first(of_each) for stream in self.streams)))


def numbered(groups: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the rows of several examples, with the example's number as `group` where it has several rows."""
    rows: list[Row] = []
    for number, group in enumerate(groups):
        rows += group if len(group) == 1 else [replace(row, group=number) for row in group]
    return rows


def whole_groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows, those of one group in one list, each list where its first row stood."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for index, row in enumerate(rows):
        # Two sorts of keys: the group 3 and the row at index 3 are different groups.
        groups.setdefault(("row", index) if row.group is None else ("group", row.group), []).append(row)
    return list(groups.values())


def through_methods(
    rows: list[Row], methods: Sequence[Method], contexts: Sequence[Context], step: int = 0
) -> list[Row]:
    """Return the rows of a step (from 0): the stream's as the methods change them, and then those that methods add."""
    pairs = [(method, replace(context, step=step)) for method, context in zip(methods, contexts, strict=True)]
    for method, context in pairs:
        rows = method.batch(rows, context)
    added: list[Row] = []
    # In one order, however the methods are named: a sum's last bit depends on it.
    for number, (method, context) in sorted(enumerate(pairs), key=lambda item: item[1][0].adds_rows):
        owner = number if method.has_own_loss() else None
        added += [replace(row, added_by=owner) for row in method.added_rows(rows, context)]
    return rows + added


def share(rows: Sequence[Row], rank: int, world: int) -> list[Row]:
    """Return the rows of one process out of `world`: groups dealt like cards, so that no process is left without."""
    groups = whole_groups(rows)
    assert len(groups) >= world, (len(groups), world)
    return list(chain.from_iterable(groups[rank::world]))


def split(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """Cut rows, in order, into forwards of at most `budget` tokens. A longer row goes alone, and a group is never cut."""
    parts: list[list[Row]] = [[]]
    filled = 0
    for group in whole_groups(rows):
        tokens = sum(len(row.tokens) for row in group)
        # Only a part that holds something is closed: else a group above the budget would leave an empty forward before it.
        if parts[-1] and filled + tokens > budget:
            parts.append([])
            filled = 0
        parts[-1] += group
        filled += tokens
    return parts

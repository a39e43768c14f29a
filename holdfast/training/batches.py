"""Which rows a step sees: a pure function of the seed and the step, so that a resumed run needs no data state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

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

    def batch(self, step: int) -> list[Row]:
        """The rows of step `step`; a batch may reach over the end of a pass."""
        return numbered(self.groups(range(step * self.batch_size, (step + 1) * self.batch_size)))

    def groups(self, places: Sequence[int]) -> list[list[Row]]:
        """Return the rows of each example at these places of the endless passes."""
        orders = {epoch: _order(self.size, self.seed, epoch) for epoch in {place // self.size for place in places}}
        return [self._rows(int(orders[place // self.size][place % self.size]), place // self.size) for place in places]

    def sample(self, count: int) -> list[Row]:
        """The rows of the first `count` examples, for what methods prepare from."""
        return numbered([self._rows(i, 0) for i in range(min(count, self.size))])

    def _rows(self, index: int, epoch: int) -> list[Row]:
        rows = self.row(index, epoch)
        return [rows] if isinstance(rows, Row) else list(rows)


@lru_cache(
    maxsize=8
)  # A batch may reach over two passes, and streams may be mixed. Made at every step, millions are slow.
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `size` rows in one pass."""
    return np.random.default_rng([seed, epoch]).permutation(size).astype(np.uint32)


@dataclass(frozen=True)
class Mixture:
    """Several streams dealt in turn: every batch holds equally many rows of each, give or take one, whatever their sizes."""

    streams: Sequence[Stream]
    batch_size: int

    def batch(self, step: int) -> list[Row]:
        """The rows of step `step`."""
        places, count = range(step * self.batch_size, (step + 1) * self.batch_size), len(self.streams)
        dealt = [
            iter(stream.groups([place // count for place in places if place % count == number]))
            for number, stream in enumerate(self.streams)
        ]
        return numbered([next(dealt[place % count]) for place in places])

    def sample(self, count: int) -> list[Row]:
        """About `count` rows, equally many of each stream."""
        return [row for stream in self.streams for row in stream.sample(-(-count // len(self.streams)))]


def numbered(groups: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the rows of several examples, with the example's number as `group` where it has several rows."""
    rows: list[Row] = []
    for number, group in enumerate(groups):
        rows += group if len(group) == 1 else [replace(row, group=number) for row in group]
    return rows


def whole_groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows, those of one group in one list, each list where its first row stood."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(("row", place) if row.group is None else ("group", row.group), []).append(row)
    return list(groups.values())


def share(rows: Sequence[Row], rank: int, world: int) -> list[Row]:
    """Return the rows of one process out of `world`: groups dealt like cards, so that no process is left without."""
    groups = whole_groups(rows)
    assert len(groups) >= world, (len(groups), world)
    return [row for group in groups[rank::world] for row in group]


def split(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """Cut rows, in order, into forwards of at most `budget` tokens. A longer row goes alone, and a group is never cut."""
    parts: list[list[Row]] = [[]]
    filled = 0
    for group in whole_groups(rows):
        tokens = sum(len(row.tokens) for row in group)
        if parts[-1] and filled + tokens > budget:
            parts.append([])
            filled = 0
        parts[-1] += group
        filled += tokens
    return parts

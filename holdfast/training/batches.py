"""Which rows a step sees: a pure function of the seed and the step, so that a resumed run needs no data state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from holdfast.row import Row


@dataclass(frozen=True)
class Stream:
    """Endless shuffled passes over `size` rows.

    `row(index, epoch)` makes a row; the epoch is there for what is sampled anew each pass, such as demonstrations.
    """

    row: Callable[[int, int], Row]
    size: int
    batch_size: int
    seed: int = 0

    def batch(self, step: int) -> list[Row]:
        """The rows of step `step`; a batch may reach over the end of a pass."""
        return self.rows(range(step * self.batch_size, (step + 1) * self.batch_size))

    def rows(self, places: Sequence[int]) -> list[Row]:
        """The rows at these places of the endless passes."""
        orders = {epoch: _order(self.size, self.seed, epoch) for epoch in {place // self.size for place in places}}
        return [self.row(int(orders[place // self.size][place % self.size]), place // self.size) for place in places]

    def sample(self, count: int) -> list[Row]:
        """The first `count` rows, for what methods prepare from."""
        return [self.row(i, 0) for i in range(min(count, self.size))]


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
            iter(stream.rows([place // count for place in places if place % count == number]))
            for number, stream in enumerate(self.streams)
        ]
        return [next(dealt[place % count]) for place in places]

    def sample(self, count: int) -> list[Row]:
        """About `count` rows, equally many of each stream."""
        return [row for stream in self.streams for row in stream.sample(-(-count // len(self.streams)))]


def share(rows: Sequence[Row], rank: int, world: int) -> list[Row]:
    """The rows of one process out of `world`: dealt like cards, so that no process is left without."""
    assert len(rows) >= world, (len(rows), world)
    return list(rows[rank::world])


def split(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """Rows in order, cut into forwards of at most `budget` tokens (a longer row goes alone)."""
    parts: list[list[Row]] = [[]]
    filled = 0
    for row in rows:
        if parts[-1] and filled + len(row.tokens) > budget:
            parts.append([])
            filled = 0
        parts[-1].append(row)
        filled += len(row.tokens)
    return parts


def total_weight(rows: Sequence[Row]) -> float:
    """The sum of all label weights: what the loss of a step is divided by."""
    return sum(sum(row.weights) for row in rows)

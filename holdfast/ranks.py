"""Which numbers of a tensor are the largest, exactly: by counting while its slices go by, or row by row.

Partitioning a tensor takes about three times as long as copying it, and copies it besides; comparing and counting take a
tenth of that. Magnitudes are compared as the integers that their bits are, which is the same order, and puts NaN last.
Of equal magnitudes the first ones count as larger: small deltas in bfloat16 are full of equals.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[np.signedinteger]
Upper = NDArray[np.int16]
WHOLE = 1 << 17  # Up to so many numbers it is not worth looking for a bracket first.
SAMPLE = 1 << 14
STRIDE = 31  # Through a slice, when sampling: no divisor of a usual width, or one column would stand for all.
SHORT = 512  # Numpy sorts rows up to this length with sorting networks, in the time of a few comparisons.
MOST_ROWS = 1 << 15  # A row's number has 15 bits, beside 48 of a magnitude.


def magnitudes(base: Tensor, tuned: Tensor) -> Bits:
    """|tuned - base| as bits: int32 or int64 of the same shape, ordered as the magnitudes are."""
    bits = torch.sub(tuned, base).numpy(force=True).view(np.int64 if base.dtype is torch.float64 else np.int32)
    return np.bitwise_and(bits, np.iinfo(bits.dtype).max, out=bits)


class Cut:
    """The largest so many numbers of a tensor, whose slices are then shown in order: all above `least`, and the `first`
    of those that equal it."""

    def __init__(self, least: int, first: int) -> None:
        self.least, self.first = least, first

    def __call__(self, bits: Bits) -> NDArray[np.bool_]:
        """Which numbers of the next slice are among the largest: bool like it."""
        if not self.first:
            return bits > self.least
        mask = np.ascontiguousarray(bits >= self.least)
        equals = np.flatnonzero(bits == self.least)
        mask.reshape(-1)[equals[self.first :]] = False
        self.first -= min(self.first, len(equals))
        return mask


def cut(every: Callable[[int], Iterable[Bits]], size: int, keep: int) -> Cut:
    """The cut that leaves the `keep` largest of a tensor's `size` numbers, where `every(n)` goes over each n-th slice.

    A sample says between which two values the cut must be. A pass counts what lies above and keeps what lies between,
    some hundredths of the tensor: equals crowd at the ends of a bracket that comes from a sample, and are but counted.
    Where the sample misled, the next pass takes all on the side that it missed.
    """
    if keep <= 0 or keep >= size:
        return Cut(0, size) if keep > 0 else Cut(np.iinfo(np.int64).max, 0)
    low, high = _bracket(every, size, keep) if size > WHOLE else (-1, np.iinfo(np.int64).max)
    while True:
        above = at_high = at_low = 0
        between = []
        for part in every(1):
            bits = part.reshape(-1)
            inside = bits > low
            within = int(np.count_nonzero(inside))
            lower = bits < high
            beyond = bits.size - int(np.count_nonzero(lower))
            higher = int(np.count_nonzero(bits > high)) if beyond else 0
            at_low += int(np.count_nonzero(bits == low)) if within < bits.size else 0
            above, at_high = above + higher, at_high + beyond - higher
            between.append(bits[np.flatnonzero(np.logical_and(inside, lower, out=inside))])
        middle = above + at_high + (inner := sum(map(len, between)))
        if above >= keep:
            low, high = high, np.iinfo(np.int64).max
        elif keep <= above + at_high:
            return Cut(high, keep - above)
        elif keep <= middle:
            found, rank = np.concatenate(between), keep - above - at_high
            between.clear()
            found.partition(inner - rank)
            least = found[inner - rank]
            return Cut(int(least), rank - int(np.count_nonzero(found > least)))
        elif keep <= middle + at_low:
            return Cut(low, keep - middle)
        else:
            low, high = -1, low


def _bracket(every: Callable[[int], Iterable[Bits]], size: int, keep: int) -> tuple[int, int]:
    """Two values between which the `keep`-th largest most likely lies, by a sample spread over the tensor."""
    slices = max(1, size // (SAMPLE * STRIDE))
    sample = np.sort(np.concatenate([part.reshape(-1)[::STRIDE] for part in every(slices)]))
    rank, margin = round(len(sample) * (1 - keep / size)), len(sample) // 64 + 8
    low = int(sample[rank - margin]) if rank >= margin else -1
    return low, int(sample[rank + margin]) if rank + margin < len(sample) else np.iinfo(np.int64).max


def of_rows(bits: Bits, keeps: Sequence[int]) -> list[NDArray[np.bool_]]:
    """For each of `keeps`, which so many numbers of each row `[R, N]` are the largest: bool like it."""
    rows, size = bits.shape
    if not rows or all(keep <= 0 or keep >= size for keep in keeps):
        return [np.full(bits.shape, keep > 0) for keep in keeps]
    if rows > MOST_ROWS:
        halves = of_rows(bits[:MOST_ROWS], keeps), of_rows(bits[MOST_ROWS:], keeps)
        return [np.concatenate(pair) for pair in zip(*halves, strict=True)]
    shift = 8 * bits.itemsize - 16
    upper = np.full((rows, -(-size // 8) * 8), -1, np.int16)  # Filled up to words, for `_counts`.
    np.right_shift(bits, shift, out=upper[:, :size], casting="unsafe")
    sample = np.sort(upper[:, : size : -(-size // SHORT)], axis=-1)
    found = []
    for keep in keeps:
        if keep <= 0 or keep >= size:
            found.append(np.full(bits.shape, keep > 0))
            continue
        value, missing = _halve(upper, sample, keep, size)
        mask = upper > value
        alike = np.flatnonzero(upper == value)
        row, column = np.divmod(alike, upper.shape[1])
        lower = bits[row, column].astype(np.int64) & ((1 << shift) - 1)
        mask.reshape(-1)[alike[_largest_by_row(row << shift | lower, row, missing)]] = True
        found.append(mask[:, :size])
    return found


def _halve(upper: Upper, sample: Upper, keep: int, size: int) -> tuple[Upper, NDArray[np.int64]]:
    """For each row the value `[R, 1]` that its `keep`-th largest has, and how many of that value are among the largest.

    By halving, from a bracket that the sorted sample of the row gives: four of its standard errors to both sides.
    """
    count = sample.shape[1]
    rank = count * (size - keep) // size
    margin = 0 if count == size else 2 + int(4 * math.sqrt(keep * (size - keep) * count) / size)

    def reach(value: NDArray[np.int32]) -> NDArray[np.int64]:
        return _counts(upper >= value.astype(np.int16)[:, None])

    low = sample[:, max(rank - margin, 0)].astype(np.int32)
    high = sample[:, min(rank + margin, count - 1)].astype(np.int32) + 1
    low[reach(low) < keep] = 0
    over = reach(high)
    high[over >= keep], over[over >= keep] = 32767, 0
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = reach(middle)
        low, high = np.where(reached >= keep, middle, low), np.where(reached >= keep, high, middle)
        over = np.where(reached >= keep, over, reached)
    return low.astype(np.int16)[:, None], keep - over


def _largest_by_row(keys: NDArray[np.int64], row: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the `wanted[r]` largest keys of each row are; each key begins with its row, and rows come in order."""
    last = np.cumsum(np.bincount(row, minlength=len(wanted)))
    least = np.sort(keys)[last - wanted][row]
    above, equals = np.flatnonzero(keys > least), np.flatnonzero(keys == least)
    owner = row[equals]
    place = np.arange(len(equals)) - np.searchsorted(owner, owner)
    first = place < (wanted - np.bincount(row[above], minlength=len(wanted)))[owner]
    return np.concatenate([above, equals[first]])


def _counts(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of each row `[R, N]` are set, N in eights: eight sums at a time, in the bytes of words, up to 255 each."""
    words = np.add.reduceat(mask.view(np.uint64), range(0, mask.shape[1] // 8, 255), axis=-1)
    return words.view(np.uint8).sum(axis=-1, dtype=np.int64)

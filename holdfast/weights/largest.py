"""Exact top-k of a tensor that is streamed slice by slice, or of each row.

Magnitudes are compared as the integers that their bits are, which is the same order, and puts NaN last. Of equal magnitudes the first
ones count as larger: small deltas in bfloat16 are full of equals, which is why nothing here takes longer for them. Comparing and
counting take a tenth of the time of copying.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[np.signedinteger]
Every = Callable[[int, int], Iterable[Bits]]
"""`every(n, stride)` goes over each n-th slice of a tensor, in order, and yields each `stride`-th of its numbers."""

TOP = np.iinfo(np.int64).max  # Above all bits of magnitudes.
WHOLE = 1 << 15  # Up to so many numbers it is not worth looking for a bracket first.
SAMPLE = 1 << 16
STRIDE = 61  # Through a slice, when sampling: no divisor of a usual width, or one column would stand for all.
CROWD = 8  # A number is taken to crowd a row where it is one of so many.
SPARSE = 32  # Looking at each that is set is fast where it is fewer than one of so many.
BYTES = np.uint64(0x0101010101010101)  # A word times this has the sum of its eight bytes in the highest of them.


def magnitudes(base: Tensor, tuned: Tensor) -> Bits:
    """Return |tuned - base| as bits: int32 or int64 of the same shape, ordered as the magnitudes are.

    The difference is taken in float32, or in float64 where both come so.
    """
    wide = tuned if tuned.dtype is torch.float64 else tuned.float()
    bits = torch.sub(wide, base).numpy(force=True).view(np.int64 if wide.dtype is torch.float64 else np.int32)
    return np.bitwise_and(bits, np.iinfo(bits.dtype).max, out=bits)


def count(share: float, size: int) -> int:
    """Return the number of `size` that a share is, rounded down: 0.29 of 100 is 29."""
    # Rounded to six digits first: in floating point 0.29 * 100 is 28.999999999999996, and its integer part 28.
    return math.floor(round(share * size, 6))


class TopKSelector:
    """Select the largest numbers of a tensor from its slices, in order: all above `least`, and the `first` of those equal to it."""

    def __init__(self, least: int, first: int) -> None:
        self.least, self.first = least, first

    def __call__(self, bits: Bits) -> NDArray[np.bool_]:
        """Return a mask like the next slice: its numbers that are among the largest."""
        if not self.first:  # No equal number is left to be counted, in this slice or a later one.
            return bits > self.least
        equal = np.ascontiguousarray(bits == self.least)
        equals = int(np.count_nonzero(equal))
        if equals <= self.first:
            self.first -= equals
            return bits >= self.least
        # The one slice in which they run out: the rest of its equals goes.
        late = np.flatnonzero(equal)[self.first :]
        self.first = 0
        mask = np.ascontiguousarray(bits >= self.least)
        mask.reshape(-1)[late] = False
        return mask


def select_top(every: Every, size: int, keep: int) -> TopKSelector:
    """Return a selector of the `keep` largest of a tensor's `size` numbers.

    A sample says between which two values the threshold must be. A pass counts what reaches either and keeps what
    lies between, some hundredths of the tensor; of a single value nothing needs to be kept, however many equal it. Where
    the sample misled, its counts say by how much; the fourth pass, if it comes to that, takes all that can still be.
    """
    if keep <= 0 or keep >= size:
        return TopKSelector(0, size) if keep > 0 else TopKSelector(TOP, 0)
    sample = _sample(every, size) if size > WHOLE else np.empty(0, np.int32)
    least, beyond = 0, TOP  # The threshold is at least the first, and below the second.
    rank, share = len(sample) * (1 - keep / size), keep / size
    for bracket in (_bracket, _bracket, _bracket, lambda *_: (0, TOP)):
        low, high = bracket(sample, rank, share)
        low, high = (max(low, least), min(high, beyond)) if low < beyond and least < high else (least, beyond)
        above, reached, between = _count(every, low, high)
        if above < keep <= reached:
            break
        if keep <= above:
            least, share = high, (above - keep) / size
            rank = np.searchsorted(sample, high) + share * len(sample)
        else:
            beyond, share = low, (keep - reached) / size
            rank = np.searchsorted(sample, low) - share * len(sample)
    if high - low == 1:
        return TopKSelector(low, keep - above)
    between.sort()  # Partitioning takes ten times as long where many are equal.
    index = len(between) - (keep - above)
    return TopKSelector(int(between[index]), int(np.searchsorted(between, between[index], "right")) - index)


def _sample(every: Every, size: int) -> Bits:
    """Return a sample spread over the tensor, sorted."""
    # Of a large tensor not each slice, because reading one costs more than comparing its numbers.
    slices = max(1, size // (SAMPLE * STRIDE))
    return np.sort(np.concatenate([part.reshape(-1) for part in every(slices, STRIDE)]))


def _bracket(sample: Bits, rank: float, share: float) -> tuple[int, int]:
    """Return two values between which the threshold most likely lies, if it has a rank in the sample that was counted over a share of it.

    The ends of the sample's bracket are left out, because equals may crowd there; where they crowd in the middle, it is
    that value alone.
    """
    # Five standard errors, as if the sample's numbers were independent draws.
    middle, margin = round(rank), math.ceil(5 * math.sqrt(len(sample) * share * (1 - share))) + 5
    low = int(sample[middle - margin]) if 0 <= middle - margin < len(sample) else -1
    high = int(sample[middle + margin]) if 0 <= middle + margin < len(sample) else TOP
    if 0 <= middle < len(sample) and sample[middle] in (low, high):
        return int(sample[middle]), int(sample[middle]) + 1
    return low + 1, high


def _count(every: Every, low: int, high: int) -> tuple[int, int, Bits]:
    """Return how many numbers reach `high`, how many `low`, and those that lie between; of a single value none."""
    above = reached = 0
    between = [np.empty(0, np.int32)]
    for part in every(1, 1):
        bits = part.reshape(-1)
        inside, over = bits >= low, bits >= high
        reached, above = reached + int(np.count_nonzero(inside)), above + int(np.count_nonzero(over))
        if high - low > 1:
            # Copies, in the one place where memory could grow: the slices themselves are overwritten by the next.
            between.append(bits[np.flatnonzero(np.logical_xor(inside, over, out=inside))])
    return above, reached, np.concatenate(between)


def select_top_of_rows(bits: Bits, keeps: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Return, for each of `keeps`, a mask like `bits` `[R, N]` of that many largest numbers of each row."""
    size = bits.shape[1] if bits.size else 0
    cuts = sorted({size - keep for keep in keeps if 0 < keep < size})
    ranked, begin, masks = _ranked(bits, cuts), 0, {}
    for cut in cuts:
        least = ranked[:, cut, None]
        mask = masks[size - cut] = bits >= least
        # In these rows more numbers equal the last one than there is room for.
        crowded = np.flatnonzero(ranked[:, begin:cut].max(axis=1) == least[:, 0])
        begin = cut
        if len(crowded):
            least = least[crowded]
            mask[crowded] ^= _later_equals(bits[crowded], least, (ranked[crowded, cut:] == least).sum(axis=1))
    return [masks[keep] if keep in masks else np.full(bits.shape, keep > 0) for keep in keeps]


def _ranked(bits: Bits, cuts: Sequence[int]) -> Bits:
    """Return rows with the same numbers, where none before a cut is larger than any that follows it."""
    if not cuts:
        return bits
    row, run = np.sort(bits[len(bits) // 2]), bits.shape[1] // CROWD
    # One rank at a time, for which numpy has vector instructions: half of the time of sorting, but ten times as much where a
    # large part is one number, as the changes that rounding to 16 bits swallowed are.
    if (row[run:] == row[: len(row) - run]).any():
        return np.sort(bits, axis=1)
    ranked, begin = bits.copy(), 0
    for cut in cuts:
        ranked[:, begin:].partition(cut - begin, axis=1)
        begin = cut + 1  # What stands at a cut stays there.
    return ranked


def _later_equals(bits: Bits, values: Bits, room: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask like `bits` `[R, N]`: what equals the value of its row, `[R, 1]`, after the first `room` `[R]` of these."""
    rows, size = bits.shape
    words = np.zeros((rows, -(-size // 8), 8), bool)  # The padding counts nothing.
    equal = words.reshape(rows, -1)[:, :size]
    np.equal(bits, values, out=equal)
    if np.count_nonzero(words) < words.size // SPARSE:
        at = np.flatnonzero(words)
        row = at // (8 * words.shape[1])
        ordinal = np.arange(len(row)) - np.searchsorted(row, row)
        words.reshape(-1)[at[ordinal < room[row]]] = False
        return equal
    # The column of the last that has room: its word, then its place among the eight.
    counts = words.view(np.uint64)[..., 0] * BYTES >> np.uint64(56)
    reached, bound = np.cumsum(counts, axis=1), room.astype(np.uint64)[:, None]
    every, word = np.arange(rows), (reached < bound).sum(axis=1)
    inside = np.cumsum(words[every, word], axis=1, dtype=np.uint64) + (reached - counts)[every, word, None]
    last = (8 * word + (inside < bound).sum(axis=1)).astype(np.int32)
    return equal & (np.arange(size, dtype=np.int32) > last[:, None])

"""Exact top-k of a tensor that is streamed slice by slice, or of each row.

Comparing and counting take a tenth of the time of copying; partitioning takes longer than copying, and needs the whole. Magnitudes are
compared as the integers that their bits are, which is the same order, and puts NaN last. Of equal magnitudes the first ones count as
larger: small deltas in bfloat16 are full of equals.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[np.signedinteger]
TOP = np.iinfo(np.int64).max  # Above all bits of magnitudes.
WHOLE = 1 << 17  # Up to so many numbers it is not worth looking for a bracket first.
SAMPLE = 1 << 14
STRIDE = 31  # Through a slice, when sampling: no divisor of a usual width, or one column would stand for all.


def magnitudes(base: Tensor, tuned: Tensor) -> Bits:
    """Return |tuned - base| as bits: int32 or int64 of the same shape, ordered as the magnitudes are.

    The difference is taken in float32, or in float64 where both come so.
    """
    wide = tuned if tuned.dtype is torch.float64 else tuned.float()
    bits = torch.sub(wide, base).numpy(force=True).view(np.int64 if wide.dtype is torch.float64 else np.int32)
    return np.bitwise_and(bits, np.iinfo(bits.dtype).max, out=bits)


class TopKSelector:
    """Select the largest numbers of a tensor from its slices, in order: all above `least`, and the `first` of those equal to it."""

    def __init__(self, least: int, first: int) -> None:
        self.least, self.first = least, first

    def __call__(self, bits: Bits) -> NDArray[np.bool_]:
        """Return a mask like the next slice: its numbers that are among the largest."""
        if (
            not self.first
        ):  # No equal number is left to be counted, in this slice or a later one: one comparison is enough.
            return bits > self.least
        mask = np.ascontiguousarray(bits >= self.least)
        equals = np.flatnonzero(bits == self.least)
        mask.reshape(-1)[equals[self.first :]] = False
        self.first -= min(self.first, len(equals))
        return mask


def select_top(every: Callable[[int], Iterable[Bits]], size: int, keep: int) -> TopKSelector:
    """Return a selector of the `keep` largest of a tensor's `size` numbers, where `every(n)` goes over each n-th slice.

    A sample says between which two values the threshold must be. A pass counts what reaches either and keeps what
    lies between, some hundredths of the tensor; of a single value nothing needs to be kept, however many equal it. Where
    the sample misled, the next pass looks at the one value beyond the end that it missed, and then at all that follow.
    """
    if keep <= 0 or keep >= size:
        return TopKSelector(0, size) if keep > 0 else TopKSelector(TOP, 0)
    low, high = _bracket(every, size, keep) if size > WHOLE else (0, TOP)
    while True:
        above = reached = 0
        between = []
        for part in every(1):
            bits = part.reshape(-1)
            inside, over = bits >= low, bits >= high
            reached, above = reached + int(np.count_nonzero(inside)), above + int(np.count_nonzero(over))
            if high - low > 1:
                # Copies, in the one place where memory could grow: the slices themselves are overwritten by the next.
                between.append(bits[np.flatnonzero(np.logical_xor(inside, over, out=inside))])
        if above < keep <= reached:  # The threshold is at least `low` and below `high`.
            break
        between.clear()
        if keep <= above:
            low, high = high, high + 1 if high - low > 1 else TOP
        else:
            low, high = low - 1 if high - low > 1 else 0, low
    if high - low == 1:
        return TopKSelector(low, keep - above)
    candidates, rank = np.concatenate(between), keep - above
    between.clear()  # Else the pieces would lie in memory beside their concatenation.
    candidates.partition(len(candidates) - rank)
    least = candidates[len(candidates) - rank]
    return TopKSelector(int(least), rank - int(np.count_nonzero(candidates > least)))


def _bracket(every: Callable[[int], Iterable[Bits]], size: int, keep: int) -> tuple[int, int]:
    """Return the two values between which the `keep`-th largest most likely lies, by a sample spread over the tensor.

    The ends of the sample's bracket are left out, because equals may crowd there; where they crowd in the middle, it is
    that value alone.
    """
    # Each n-th slice alone, because reading a slice costs more than comparing its numbers.
    slices = max(1, size // (SAMPLE * STRIDE))
    sample = np.sort(np.concatenate([part.reshape(-1)[::STRIDE] for part in every(slices)]))
    rank, margin = round(len(sample) * (1 - keep / size)), len(sample) // 64 + 8
    low = int(sample[rank - margin]) if rank >= margin else -1
    high = int(sample[rank + margin]) if rank + margin < len(sample) else TOP
    guess = int(sample[min(rank, len(sample) - 1)])
    return (guess, guess + 1) if guess in (low, high) else (low + 1, high)


def select_top_of_rows(bits: Bits, keeps: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Return, for each of `keeps`, a mask like `bits` `[R, N]` of that many largest numbers of each row."""
    size, rest = bits.shape[1] if bits.size else 0, bits
    masks = {keep: np.full(bits.shape, keep > 0) for keep in keeps if not 0 < keep < size}
    # From the most to the fewest: what the first partition puts at the end holds all that the next one looks for.
    for keep in sorted(set(keeps) - masks.keys(), reverse=True):
        # One rank at a time, for which numpy has vector instructions.
        rest = np.partition(rest, rest.shape[1] - keep, axis=1)[:, rest.shape[1] - keep :]
        masks[keep] = _from(bits, rest[:, 0], keep)
    return [masks[keep] for keep in keeps]


def _from(bits: Bits, least: Bits, keep: int) -> NDArray[np.bool_]:
    """Return a mask of the `keep` largest of each row: those from the last of them, `least` `[R]`, on; of its equals the first."""
    rows, size = bits.shape
    padded = np.zeros((rows, -(-size // 8) * 8), bool)  # To words of eight, for `_counts`; the padding counts nothing.
    mask = np.greater_equal(bits, least[:, None], out=padded[:, :size])
    reached = _counts(padded)
    # In these rows more numbers equal the last one than there is room for.
    crowded = np.flatnonzero(reached != keep)
    if len(crowded):
        row, column = np.divmod(np.flatnonzero(bits[crowded] == least[crowded, None]), size)
        equals = np.bincount(row, minlength=len(crowded))
        above = reached[crowded] - equals
        position = np.arange(len(row)) - (np.cumsum(equals) - equals)[row]
        late = position >= (keep - above)[row]
        mask[crowded[row[late]], column[late]] = False
    return mask


def _counts(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of set values `[R]` of each row `[R, N]`, N a multiple of 8."""
    # Eight sums at a time in the bytes of a word, of at most 255 words each: one more could carry into the next byte.
    words = np.add.reduceat(mask.view(np.uint64), range(0, mask.shape[1] // 8, 255), axis=-1)
    return words.view(np.uint8).sum(axis=-1, dtype=np.int64)

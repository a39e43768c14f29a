"""Arithmetic of changes: exact at its ends, and bit by bit where nothing is changed."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def choose(mask: NDArray[np.bool_], chosen: Tensor, other: Tensor) -> Tensor:
    """Return `chosen` where the mask is set, else `other`, bit by bit."""
    # `torch.where` takes longer, and `other + mask * difference` is not `other` for a negative zero or beside an infinity.
    left, right = _bits(chosen), _bits(other)
    # other ^ ((chosen ^ other) & selected), in the memory of the first term.
    mixed = np.bitwise_xor(left, right, out=np.empty_like(left))  # An array also where there are no dimensions.
    mixed &= _selecting(mask, left)
    mixed ^= right
    return torch.from_numpy(mixed).view(chosen.dtype)


def between(base: Tensor, tuned: Tensor, share: float) -> Tensor:
    """Return base + share * (tuned - base), which is either bit by bit at its end."""
    # In floating point that sum is not `tuned` at 1; `lerp` is, but where a zero is negative or a number infinite.
    if share in (0, 1):
        return tuned if share else base
    return torch.lerp(base, tuned, share)


def selected_delta(base: Tensor, tuned: Tensor, mask: NDArray[np.bool_]) -> Tensor:
    """Return tuned - base where the mask is set, else 0."""
    delta = torch.sub(tuned, base)
    bits = _bits(delta)
    bits &= _selecting(mask, bits)  # A fifth of the time of `masked_fill_`.
    return delta


def add_selected(base: Tensor, tuned: Sequence[Tensor], masks: Sequence[NDArray[np.bool_]], scale: float) -> Tensor:
    """Return the base with `scale` times the sum of the changes that the masks, one of each tuned model, select."""
    if len(tuned) == 1:
        return choose(masks[0], between(base, tuned[0], scale), base)
    delta = selected_delta(base, tuned[0], masks[0])
    for after, mask in zip(tuned[1:], masks[1:], strict=True):
        delta += selected_delta(base, after, mask)
    return add_delta(base, delta, scale)


def total_change(base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
    """Return the sum of tuned - base over the models."""
    delta = torch.sub(tuned[0], base)
    for after in tuned[1:]:
        delta += after - base
    return delta


def add_delta(base: Tensor, delta: Tensor, scale: float) -> Tensor:
    """Return base + scale * delta; at 0 the base bit by bit, also where a change is infinite."""
    # Of several models the deltas are added first and scaled once: one rounding less for each.
    return torch.add(base, delta, alpha=scale) if scale else base.clone()


def _bits(tensor: Tensor) -> NDArray[np.signedinteger]:
    """Return the bits of floating-point numbers as integers, in the same memory."""
    return tensor.detach().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize]).numpy()


def _selecting(mask: NDArray[np.bool_], bits: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    """Return integers like `bits` with all bits set where the mask is, else none."""
    # -1 has all bits set, and 0 none; sign extension carries that to the width of a number.
    return np.negative(mask.view(np.int8)).astype(bits.dtype).reshape(bits.shape)

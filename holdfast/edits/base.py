"""The contract of an edit: from a base tensor and a tuned tensor, the tensor that the edited model gets."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor

from holdfast.weights.largest import Bits, magnitudes
from holdfast.weights.layout import Place

STRICT = ConfigDict(extra="forbid")
"""A field that does not exist is refused, not ignored: `@dataclass(frozen=True, config=STRICT)`."""


Apply = Callable[[Tensor, Tensor], Tensor]
"""From a slice of the base and of the tuned tensor, the edited slice."""


@dataclass(frozen=True, slots=True)
class Slices:
    """A tensor of `size` numbers; `every(n)` goes over each n-th of its slices, as base and tuned.

    A slice is good until the next one comes: both are read to the same place.
    """

    size: int
    every: Callable[[int], Iterable[tuple[Tensor, Tensor]]]

    def magnitudes(self, step: int) -> Iterator[Bits]:
        """|tuned - base| of each `step`-th slice, as `holdfast.weights.largest` takes it."""
        return (magnitudes(base, tuned) for base, tuned in self.every(step))


class Edit:
    """What is done to the difference between a tuned model and its base, one tensor at a time.

    A subclass is a frozen pydantic dataclass: its fields are its configuration, checked at construction, and all have
    defaults. Its docstring says in one line what it does, and in a line `Source:` whence it comes. It is a pure
    function: the same tensors in the same place give the same result, and what it is given is not changed.
    """

    needs_blocks: ClassVar[bool] = False
    """Whether the edit means nothing for a model whose tensor names show no numbered blocks."""

    takes_16_bits: ClassVar[bool] = False
    """Whether float16 and bfloat16 may come as they are stored: where the result is then, bit by bit, that of float32
    rounded. `torch.lerp` is so; a difference is not."""

    @property
    def sliceable(self) -> bool:
        """Whether a tensor can be edited a run of rows at a time, so that memory stays small."""
        return False

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        """The edited tensor.

        `base` and `tuned` have one shape and one dtype, float32 or float64 (see also `takes_16_bits`); so must the
        result. A sliceable edit may be given a run of rows: numbers `[n, N]` of a tensor `[..., N]`.
        """
        raise NotImplementedError

    def over(self, slices: Slices, place: Place) -> Apply:
        """What is done to the slices of one tensor, to each once and in order.

        An edit that asks for something of the whole tensor, or that draws, overrides this (see `Streamed`).
        """
        return lambda base, tuned: self(base, tuned, place)


class Streamed(Edit):
    """An edit that needs more than a slice and less than the whole tensor at once: it defines `over` alone."""

    @property
    def sliceable(self) -> bool:
        return True

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        """The edited tensor, given whole."""
        return self.over(Slices(base.numel(), lambda step: [(base, tuned)]), place)(base, tuned)


def count(share: float, size: int) -> int:
    """How many of `size` a share is, rounded down: 0.29 of 100 is 29, though `int(0.29 * 100)` is 28."""
    return math.floor(round(share * size, 6))


def choose(mask: NDArray[np.bool_], one: Tensor, other: Tensor) -> Tensor:
    """`one` where the mask is set, else `other`, bit by bit; `one` is overwritten.

    `torch.where` takes longer, and `other + mask * difference` is not `other` for a negative zero or beside an infinity.
    """
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.itemsize]
    mixed, bits = one.detach().view(kind).numpy(), other.detach().view(kind).numpy()
    kept = np.negative(mask.view(np.int8)).astype(mixed.dtype).reshape(one.shape)  # All bits of a number, or none.
    mixed ^= bits
    mixed &= kept
    mixed ^= bits
    return one

"""The contract of an edit: from a base tensor and a tuned tensor, the tensor that the edited model gets."""

import math
from typing import ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor

from holdfast.blocks import Place

STRICT = ConfigDict(extra="forbid")
"""A field that does not exist is refused, not ignored: `@dataclass(frozen=True, config=STRICT)`."""


class Edit:
    """What is done to the difference between a tuned model and its base, one tensor at a time.

    A subclass is a frozen pydantic dataclass: its fields are its configuration, checked at construction, and all have
    defaults. Its docstring says in one line what it does, and in a line `Source:` whence it comes. It is a pure
    function: the same tensors in the same place give the same result, and what it is given is not changed.
    """

    needs_blocks: ClassVar[bool] = False
    """Whether the edit means nothing for a model whose tensor names show no numbered blocks."""

    @property
    def sliceable(self) -> bool:
        """Whether rows of a tensor can be edited apart, so that big tensors come in slices and memory stays small."""
        return False

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        """The edited tensor.

        `base` and `tuned` have one shape and one dtype, float32 or float64; so must the result. A sliceable edit may be
        given a run of rows of a tensor with two dimensions or more.
        """
        raise NotImplementedError


def count(share: float, size: int) -> int:
    """How many of `size` a share is, rounded down: 0.29 of 100 is 29, though `int(0.29 * 100)` is 28."""
    return math.floor(round(share * size, 6))


def largest(values: Tensor, keep: int) -> Tensor:
    """Which `keep` values of each row are the largest: bool like `values` `[R, N]`; of equals, the first ones.

    Exactly `keep`: a mere threshold would keep all equals or none, and small deltas in bfloat16 are full of equals.
    """
    rows, size = values.shape
    if keep <= 0 or keep >= size or rows == 0:
        return torch.full(values.shape, keep > 0, dtype=torch.bool)
    scratch = values.numpy(force=True).copy()
    scratch.partition(size - keep, axis=-1)
    least = torch.from_numpy(scratch[:, size - keep, None].copy())
    del scratch
    above, equal = values > least, values == least
    missing = keep - above.sum(-1, keepdim=True)
    if not torch.equal(equal.sum(-1, keepdim=True), missing):
        equal &= equal.cumsum(-1, dtype=torch.int32) <= missing
    return above | equal

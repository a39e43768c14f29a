"""Read and edit a tensor of a base and its tuned models slice by slice: memory does not grow with the tensor."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.edits.base import Edit, Slices
from holdfast.plugins import name_of
from holdfast.weights.layout import TensorLocation
from holdfast.weights.safetensors_files import Reader, Stored

SLICE = 1 << 18  # Numbers in a slice: many, beside what a call costs, and few, beside the cache.


@dataclass(frozen=True, slots=True)
class MatchedTensors:
    """A tensor of the base, the same tensor of each tuned model, and its location."""

    base: Stored
    tuned: tuple[Stored, ...]
    location: TensorLocation

    @property
    def sides(self) -> tuple[Stored, ...]:
        """Return the base's tensor, then those of the tuned models."""
        return self.base, *self.tuned


def edited(tensors: MatchedTensors, edit: Edit, reader: Reader) -> Iterator[Tensor]:
    """Yield the edited tensor in the dtype of the first tuned model, whole or in runs of rows; bytes where it holds no floats.

    A piece is valid until the next one comes.
    """
    stored = tensors.tuned[0]
    if stored.dtype is None or stored.size == 0:
        yield from reader.chunks(stored, SLICE)
        return
    slices = slices_of(tensors, edit, reader)
    apply, ready = edit.over(slices, tensors.location), torch.empty(0, dtype=stored.dtype)
    for base, tuned in slices.every(1):
        result = apply(base, tuned)
        if result.shape != base.shape or result.dtype != base.dtype:
            raise ValueError(
                f"{name_of(edit)}: made {list(result.shape)} {result.dtype} of {tensors.location.name}, "
                f"which is {list(base.shape)} {base.dtype}; an edit keeps both"
            )
        if result.dtype == stored.dtype:
            yield result
            continue
        if ready.numel() < result.numel():
            ready = torch.empty_like(result, dtype=stored.dtype)
        yield ready.view(-1)[: result.numel()].copy_(result.view(-1))


def slices_of(tensors: MatchedTensors, edit: Edit, reader: Reader) -> Slices:
    """Return the slices of a tensor in all models; their buffers live as long as they are gone over."""
    return Slices(
        math.prod(tensors.base.shape),
        lambda step, models: SliceReader(tensors, reader, edit, models).every(step),
        len(tensors.tuned),
    )


class SliceReader:
    """Read the slices of a tensor in the base and the tuned models with the numbers `models`, into one buffer each.

    In float32, in float64 where any model stores that, or as stored, where the edit of one tuned model can compute with it.
    """

    def __init__(self, tensors: MatchedTensors, reader: Reader, edit: Edit, models: Sequence[int]) -> None:
        self.reader, stored = reader, tensors.tuned[0]
        dtypes = [side.dtype for side in tensors.sides]
        exact = torch.float64 if torch.float64 in dtypes else torch.float32
        # Sums over several models round at each term, so they are never taken in 16 bits.
        if edit.takes_16_bits and len(dtypes) == 2 and dtypes[0] == dtypes[1]:
            exact = dtypes[0]
        size = math.prod(stored.shape)
        if not edit.sliceable or len(stored.shape) < 2 or size <= SLICE:
            self.shape, self.rows, self.step = stored.shape, 1, 1
            self.width = size
        else:
            self.shape, self.width = None, stored.shape[-1]
            self.rows, self.step = size // self.width, max(1, SLICE // self.width)
        read = (tensors.base, *(tensors.tuned[model] for model in models))
        self.sides = [(side, torch.empty(self.step * self.width, dtype=exact)) for side in read]
        # Where the stored dtype is the exact one, a slice is read right into its place and needs no second buffer.
        raws = (torch.empty(0 if s.dtype is exact else self.step * self.width, dtype=s.dtype) for s in read)
        self.raws = list(raws)

    def every(self, n: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Yield each n-th slice: the base's, and those of the tuned models that are read."""
        for first in range(0, self.rows, n * self.step):
            numbers = (min(first + self.step, self.rows) - first) * self.width
            shape = (-1, self.width) if self.shape is None else self.shape
            base, *tuned = (
                self._read(side, ready, raw, first * self.width, numbers).view(shape)
                for (side, ready), raw in zip(self.sides, self.raws, strict=True)
            )
            yield base, tuned

    def _read(self, side: Stored, ready: Tensor, raw: Tensor, first: int, numbers: int) -> Tensor:
        into = (raw if raw.numel() else ready)[:numbers]
        # As bytes, since the file is read into the memory of the tensor itself.
        self.reader.fill(side, first * into.element_size(), into.view(torch.uint8))
        return ready[:numbers].copy_(into) if raw.numel() else into

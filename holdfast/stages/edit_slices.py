"""One tensor of a model and of its base, read and edited slice by slice: memory does not grow with the tensor."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.edits.base import Edit, Slices
from holdfast.plugins import snake
from holdfast.weights.layout import Place
from holdfast.weights.safetensors_files import Reader, Stored

SLICE = 1 << 18  # Numbers in a slice: many, beside what a call costs, and few, beside the cache.


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor of the tuned model, the base's tensor for it, and where it stands."""

    base: Stored
    tuned: Stored
    place: Place


def edited(pair: Pair, how: Edit, reader: Reader) -> Iterator[Tensor]:
    """The edited tensor in the tuned dtype, in one piece or in runs of rows; mere bytes where it holds no floats.

    A piece is good until the next one comes.
    """
    stored = pair.tuned
    if stored.dtype is None or stored.size == 0:
        yield from reader.chunks(stored, SLICE)
        return
    size = stored.size // stored.dtype.itemsize
    slices = Slices(size, Slicing(pair, reader, how).every)
    apply, ready = how.over(slices, pair.place), torch.empty(0, dtype=stored.dtype)
    for base, tuned in slices.every(1):
        result = apply(base, tuned)
        if result.shape != tuned.shape or result.dtype != tuned.dtype:
            raise ValueError(
                f"{snake(type(how).__name__)}: made {list(result.shape)} {result.dtype} of {pair.place.name}, "
                f"which is {list(tuned.shape)} {tuned.dtype}; an edit keeps both"
            )
        if result.dtype == stored.dtype:
            yield result
            continue
        if ready.numel() < result.numel():
            ready = torch.empty_like(result, dtype=stored.dtype)
        yield ready.view(-1)[: result.numel()].copy_(result.view(-1))


class Slicing:
    """The slices of a tensor in both models, read to the same place each: in float32, in float64 where one is stored so, or
    as they are stored, where the edit can do with that."""

    def __init__(self, pair: Pair, reader: Reader, how: Edit) -> None:
        self.reader, stored = reader, pair.tuned
        kinds = [side.dtype for side in (pair.base, stored)]
        exact = torch.float64 if torch.float64 in kinds else torch.float32
        if how.takes_16_bits and kinds[0] == kinds[1]:
            exact = kinds[0]
        size = math.prod(stored.shape)
        if not how.sliceable or len(stored.shape) < 2 or size <= SLICE:
            self.shape, self.rows, self.step = stored.shape, 1, 1
            self.width = size
        else:
            self.shape, self.width = None, stored.shape[-1]
            self.rows, self.step = size // self.width, max(1, SLICE // self.width)
        self.sides = [(side, torch.empty(self.step * self.width, dtype=exact)) for side in (pair.base, stored)]
        raws = (torch.empty(0 if kind is exact else self.step * self.width, dtype=kind) for kind in kinds)
        self.raws = list(raws)

    def every(self, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Each n-th slice, as base and tuned."""
        for first in range(0, self.rows, n * self.step):
            numbers = (min(first + self.step, self.rows) - first) * self.width
            shape = (-1, self.width) if self.shape is None else self.shape
            base, tuned = (
                self._read(side, ready, raw, first * self.width, numbers).view(shape)
                for (side, ready), raw in zip(self.sides, self.raws, strict=True)
            )
            yield base, tuned

    def _read(self, side: Stored, ready: Tensor, raw: Tensor, first: int, numbers: int) -> Tensor:
        into = (raw if raw.numel() else ready)[:numbers]
        self.reader.fill(side, first * into.element_size(), into.view(torch.uint8))
        return ready[:numbers].copy_(into) if raw.numel() else into

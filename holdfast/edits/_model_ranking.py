"""The largest changes of a whole model, in one ranking over all of its tensors: what `graft` keeps, and `ties` where it trims by model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.edits.base import Slices
from holdfast.weights.largest import Bits, TopKSelector, count, select_top
from holdfast.weights.layout import TensorLocation

Model = Sequence[tuple[Slices, TensorLocation]]
Select = Callable[[Bits], NDArray[np.bool_]]
"""From the magnitudes of a tensor's next slice, a mask of those that are among the largest."""


@dataclass(frozen=True)
class LargestChanges:
    """The largest changes of a tuned model: all above `least`, and of those equal to it the `first` ones of each tensor, by name."""

    least: int
    first: Mapping[str, int]

    def selector(self, location: TensorLocation) -> Select:
        """Return a new selector of a tensor's largest changes, for its slices in order."""
        top = TopKSelector(self.least, self.first.get(location.name, 0))
        return lambda bits: top(_in_32_bits(bits))


def largest_changes(model: Model, density: float, number: int) -> LargestChanges:
    """Return the largest changes of the tuned model `number`: a share of `density` of all numbers."""
    size = sum(slices.size for slices, _ in model)

    def changes(step: int, stride: int) -> Iterator[Bits]:
        for slices, _ in model:
            yield from map(_in_32_bits, slices.magnitudes(step, stride, number))

    top = select_top(changes, size, count(density, size))
    # Tensors are edited in any order and in threads, so the equals at the threshold are dealt out now, in the order of the model.
    left, first = top.first, {}
    for slices, location in model if 0 < left < size else ():
        equals = sum(
            int(np.count_nonzero(bits == top.least)) for bits in map(_in_32_bits, slices.magnitudes(1, model=number))
        )
        first[location.name] = min(left, equals)
        left -= first[location.name]
        if not left:
            break
    if top.first >= size:  # Everything is among the largest.
        first = {location.name: slices.size for slices, location in model}
    return LargestChanges(top.least, first)


def _in_32_bits(bits: Bits) -> Bits:
    """Return magnitudes of float64 as those of float32, so that tensors of both have one ranking."""
    return bits.view(np.float64).astype(np.float32).view(np.int32) if bits.dtype == np.int64 else bits

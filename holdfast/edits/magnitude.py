"""Magnitude pruning of the delta."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import add_selected
from holdfast.edits.base import Apply, Slices, Streamed, only
from holdfast.weights.largest import count, magnitudes
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class Magnitude(Streamed):
    """Keep the largest changes of each tensor (a share of `density`), and reset all others to the base.

    For a smaller change to store, or to add to others: the paper finds nearly all that was learned in a fifth of it. The authors' code
    ranks over the whole model, as `graft` does. Costs two passes more over the files than copying.

    Source: Yadav et al. 2023, "TIES-Merging: resolving interference when merging models" (NeurIPS), the trimming step
    """

    EXAMPLES_OFF: ClassVar = ({"density": 1.0},)
    EXAMPLES_BASE: ClassVar = ({"density": 0.0}, {"scale": 0.0})
    takes_16_bits: ClassVar[bool] = True

    density: float = Field(default=0.2, ge=0, le=1, description="share of each tensor's changes that is kept")
    scale: float = Field(default=1.0, allow_inf_nan=False, description="factor of what is kept")

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        largest = slices.select_top(count(self.density, slices.size))

        def apply(base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
            return add_selected(base, tuned, [largest(magnitudes(base, only(tuned)))], self.scale)

        return apply

"""Magnitude pruning of the delta."""

from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import STRICT, Apply, Slices, Streamed, choose, count
from holdfast.weights.largest import cut, magnitudes
from holdfast.weights.layout import Place


@dataclass(frozen=True, config=STRICT)
class Magnitude(Streamed):
    """The largest changes of each tensor are kept (a share of `density`), and all others go back to the base.

    Source: Yadav et al. 2023, "TIES-Merging: resolving interference when merging models" (NeurIPS), the trimming step
    """

    takes_16_bits: ClassVar[bool] = True

    density: float = Field(default=0.2, ge=0, le=1)
    scale: float = Field(default=1.0, allow_inf_nan=False)

    def over(self, slices: Slices, place: Place) -> Apply:
        largest = cut(slices.magnitudes, slices.size, count(self.density, slices.size))

        def apply(base: Tensor, tuned: Tensor) -> Tensor:
            return choose(largest(magnitudes(base, tuned)), torch.lerp(base, tuned, self.scale), base)

        return apply

"""Magnitude pruning of the delta."""

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.blocks import Place
from holdfast.edits.base import STRICT, Edit, count, largest


@dataclass(frozen=True, config=STRICT)
class Magnitude(Edit):
    """The largest changes of each tensor are kept (a share of `density`), and all others go back to the base.

    Source: Yadav et al. 2023, "TIES-Merging: resolving interference when merging models" (NeurIPS), the trimming step
    """

    density: float = Field(default=0.2, ge=0, le=1)
    scale: float = Field(default=1.0, allow_inf_nan=False)

    def mask(self, delta: Tensor) -> Tensor:
        """Which entries of a delta are kept: bool of the same shape."""
        return largest(delta.abs().reshape(1, -1), count(self.density, delta.numel())).view(delta.shape)

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        return torch.where(self.mask(tuned - base), torch.lerp(base, tuned, self.scale), base)

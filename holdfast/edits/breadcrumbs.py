"""Model Breadcrumbs."""

from typing import Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.blocks import Place
from holdfast.edits.base import STRICT, Edit, count, largest


@dataclass(frozen=True, config=STRICT)
class Breadcrumbs(Edit):
    """Both tails of the delta go back to the base: the `outliers` largest changes, and all but `density` of the others.

    Of n values, int(outliers * n) are dropped at the top, then the int(density * n) largest that remain are kept (at
    least one, so that no short tensor loses all it learned) and scaled. Where `outliers` comes to less than one value,
    nothing is dropped at the top. `scope` says whether the n values are a row (as in the paper's code) or a whole
    tensor; single numbers are scaled only.

    Source: Davari and Belilovsky 2024, "Model Breadcrumbs: scaling multi-task model merging with sparse masks" (ECCV)
    """

    density: float = Field(default=0.2, ge=0, le=1)
    outliers: float = Field(default=0.1, ge=0, le=1)
    scale: float = Field(default=1.0, allow_inf_nan=False)
    scope: Literal["row", "tensor"] = "row"

    def __post_init__(self) -> None:
        if self.density + self.outliers > 1 + 1e-9:
            raise ValueError(
                f"density {self.density:g} and outliers {self.outliers:g} are more than 1 together; lower one"
            )

    @property
    def sliceable(self) -> bool:
        return self.scope == "row"

    def mask(self, delta: Tensor) -> Tensor:
        """Which entries of a delta `[..., N]` are kept: bool of the same shape."""
        if delta.numel() <= 1:
            return torch.full(delta.shape, self.density > 0)
        magnitude = delta.abs().reshape(-1, delta.shape[-1]) if self.scope == "row" else delta.abs().reshape(1, -1)
        size = magnitude.shape[-1]
        top = largest(magnitude, count(self.outliers, size))
        magnitude.masked_fill_(top, -1.0)
        wanted = max(1, count(self.density, size)) if self.density > 0 else 0
        kept = largest(magnitude, min(wanted, size - count(self.outliers, size)))
        return kept.view(delta.shape)

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        return torch.where(self.mask(tuned - base), torch.lerp(base, tuned, self.scale), base)

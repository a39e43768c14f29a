"""DARE: drop and rescale."""

import hashlib

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.blocks import Place
from holdfast.edits.base import STRICT, Edit


@dataclass(frozen=True, config=STRICT)
class Dare(Edit):
    """Changes are dropped at random; those kept (a share of `density`) are divided by it, so that the mean stays.

    `scale` multiplies the result. The draw depends on the seed and the tensor's name only.

    Source: Yu et al. 2024, "Language models are super Mario" (ICML), section 3
    """

    density: float = Field(default=0.2, ge=0, le=1)
    scale: float = Field(default=1.0, allow_inf_nan=False)
    seed: int = 0

    def mask(self, shape: torch.Size, name: str) -> Tensor:
        """Which entries are kept: bool of this shape."""
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        draw = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.empty(shape, dtype=torch.bool).bernoulli_(self.density, generator=draw)

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        if self.density == 0:
            return base
        edited = torch.lerp(base, tuned, base.new_tensor(self.scale / self.density))
        return torch.where(self.mask(base.shape, place.name), edited, base)

"""LiNeS: layer-increasing scaling."""

from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import STRICT, Edit
from holdfast.weights.layout import Place


@dataclass(frozen=True, config=STRICT)
class Lines(Edit):
    """The delta times a factor that grows with depth: the first block by `alpha`, the last by `alpha + beta`.

    Shallow layers hold what tasks share, so they go back further. By default beta is 1 - alpha, which leaves the last
    block as tuned. What lies outside the blocks (embeddings, final norm, head) is scaled by `alpha`, as in the paper's
    code. A model with an encoder and a decoder counts in each of the two; a single block counts as the last.

    Source: Wang et al. 2025, "LiNeS: post-training layer scaling prevents forgetting and enhances model merging" (ICLR)
    """

    needs_blocks: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    alpha: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    beta: float | None = Field(default=None, allow_inf_nan=False)

    @property
    def sliceable(self) -> bool:
        return True

    def factor(self, place: Place) -> float:
        """alpha + beta * block / (blocks - 1)."""
        if place.block is None:
            return self.alpha
        depth = place.block / (place.blocks - 1) if place.blocks > 1 else 1.0
        return self.alpha + depth * (1 - self.alpha if self.beta is None else self.beta)

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        return torch.lerp(base, tuned, self.factor(place))

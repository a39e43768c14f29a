"""Intruder dimensions: singular vectors that fine-tuning added."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import Edit, only
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class Intruders(Edit):
    """Scale down the tuned matrix's large singular vectors that are like none of the base's.

    Fine-tuning by LoRA, and at high rates also in full, adds directions that the base did not have, and they go with forgetting. Of the
    `top` largest left singular vectors of each matrix inside the blocks, one is an intruder if its cosine with every left singular
    vector of the base is below `threshold`; `scale` multiplies it. Embeddings, head, norms and biases stay as tuned. Costs two singular
    value decompositions of each matrix (seconds for a width of 2048) and memory for eight copies of the largest.

    Source: Shuttleworth et al. 2024, "LoRA vs full fine-tuning: an illusion of equivalence" (arXiv 2410.21228)
    """

    EXAMPLES_OFF: ClassVar = ({"scale": 1.0}, {"threshold": 0.0}, {"top": 0})
    EXAMPLES_BASE: ClassVar = ()  # What is no intruder stays as tuned.
    needs_blocks: ClassVar[bool] = True

    top: int = Field(default=10, ge=0, description="number of singular vectors of each tuned matrix that are looked at")
    threshold: float = Field(
        default=0.5, ge=0, le=1, description="largest cosine with the base's vectors that makes one an intruder"
    )
    scale: float = Field(default=0.75, allow_inf_nan=False, description="factor of each intruder; 1 leaves it")

    def __call__(self, base: Tensor, tuned: Sequence[Tensor], location: TensorLocation) -> Tensor:
        after = only(tuned)
        # A matrix that did not move has no intruders, and its decompositions need not be waited for.
        if location.block is None or after.ndim != 2 or torch.equal(base, after):
            return after.clone()
        known = torch.linalg.svd(base, full_matrices=False).U
        u, s, v = torch.linalg.svd(after, full_matrices=False)
        nearest = (u[:, : self.top].T @ known).abs().amax(1)
        intruders = torch.nonzero(nearest < self.threshold).view(-1)
        if not len(intruders):  # Not even rounding touches what has none.
            return after.clone()
        return torch.addmm(after, u[:, intruders] * s[intruders], v[intruders], alpha=self.scale - 1)

"""LoRA-Null: a LoRA in the null space of what known texts activate."""

from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from holdfast.methods._calibrated_lora import CalibratedLora


@dataclass
class LoraNull(CalibratedLora):
    """Train the part of each weight that reads the `rank` directions which general texts activate least, as a LoRA.

    Calibrate on text whose handling should stay, by default texts that the model writes itself. With `freeze_a` (the paper's v2) A
    keeps those directions, so that what the texts activate is hardly changed however long the training; without it A drifts. The
    authors' runs of 7B models have rank 128 and 256 texts.
    Other modules stay as they are to the bit; `adapter/` is a plain LoRA on the untouched base, of twice the rank unless A is frozen.
    Cost: once, a forward of the calibration rows, and of each module's inputs the eigenvectors (4 * in^2 bytes for each set of modules
    that read the same input); in training, twice the adapter of `lora`.

    Source: Tang et al. 2026, "LoRA-Null: low-rank adaptation via null space for large language models" (AAAI)
    """

    KIND: ClassVar[str] = "LoraNull"

    freeze_a: bool = Field(default=False, description="train B alone, the paper's v2")

    def factors(self, weight: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return a factorisation of W N N^T, N the eigenvectors of the covariance with the least eigenvalues."""
        null = torch.linalg.eigh(covariance).eigenvectors[:, : self.rank]
        left, values, right = torch.linalg.svd(weight @ null, full_matrices=False)
        root = (values / (self.alpha / self.rank)).sqrt()
        return root[:, None] * (right @ null.T), left * root

    def _moving(self, layer: Any) -> list[nn.Parameter]:
        return super()._moving(layer)[1:] if self.freeze_a else super()._moving(layer)

"""CorDA: a LoRA along the directions that known texts use least, or the task most."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._calibrated_lora import CalibratedLora
from holdfast.methods.base import Context
from holdfast.row import Row


@dataclass
class Corda(CalibratedLora):
    """Train the part of each weight that calibration texts use least (`mode=kpm`), or the target's rows most (`ipm`), as a LoRA.

    `kpm` keeps knowledge: calibrate on general text, by default on texts that the model writes itself. `ipm` learns faster and keeps less:
    it calibrates on the target's rows unless `calibrate` says otherwise. Give at least as many tokens as the widest module has inputs, or
    damping decides. The paper's runs of 7B models have rank 128 and 256 rows of 2,048 tokens. Modules other than the targets stay as they
    are to the bit; `adapter/` is a plain LoRA of twice the rank on the untouched base. Cost: once, a forward of the calibration rows and a
    singular value decomposition of each weight, with 4 * in^2 bytes for each set of modules that read the same input; in training, twice
    the adapter of `lora`.

    Source: Yang et al. 2024, "CorDA: context-oriented decomposition adaptation of large language models" (NeurIPS); after PEFT
    """

    KIND: ClassVar[str] = "Corda"

    mode: Literal["kpm", "ipm"] = Field(default="kpm", description="kpm: keep knowledge; ipm: preview the task")

    def calibration_rows(self, context: Context) -> list[Row]:
        """Return the rows to calibrate on: named ones, the target's (`ipm`), or texts that the model writes."""
        if self.mode == "ipm" and not self.calibrate:
            return [row for row in context.rows[: self.samples] if row.labels]
        return super().calibration_rows(context)

    def factors(self, weight: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last (`kpm`) or first (`ipm`) singular triplets of W C, brought back by the inverse of C."""
        damped, inverse = damp(covariance)
        left, values, right = torch.linalg.svd(weight @ damped, full_matrices=False)
        kept = slice(-self.rank, None) if self.mode == "kpm" else slice(self.rank)
        root = (values[kept] / (self.alpha / self.rank)).sqrt()
        return root[:, None] * (right[kept] @ inverse), left[:, kept] * root


def damp(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the covariance with as much added to its diagonal as makes it invertible, and its inverse: `[in, in]` each.

    A hundredth of the diagonal's mean at first, twice as much until |C C^-1 - I| < 0.05, as the published code does.
    """
    eye = torch.eye(len(covariance), device=covariance.device)
    mean = covariance.diagonal().mean()
    # Modules that read nothing but zeros: every direction is as good as any other.
    if mean == 0:
        return eye, eye
    share = 0.01
    while True:
        damped = covariance + share * mean * eye
        inverse, failed = torch.linalg.inv_ex(damped)
        if failed == 0 and torch.dist(damped @ inverse, eye) < 0.05:
            return damped, inverse
        share *= 2

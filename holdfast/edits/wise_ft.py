"""WiSE-FT."""

from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import STRICT, Edit
from holdfast.weights.layout import Place


@dataclass(frozen=True, config=STRICT)
class WiseFt(Edit):
    """A straight line between the base (alpha 0) and the tuned model (alpha 1), the same for every weight.

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (CVPR), section 3
    """

    takes_16_bits: ClassVar[bool] = True

    alpha: float = Field(default=0.5, ge=0, le=1)

    @property
    def sliceable(self) -> bool:
        return True

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        """Not `base + alpha * (tuned - base)`: in floating point that is not `tuned` at 1, and lerp is."""
        return torch.lerp(base, tuned, self.alpha)

"""Task arithmetic with one task."""

from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import STRICT, Edit
from holdfast.weights.layout import Place


@dataclass(frozen=True, config=STRICT)
class TaskArithmetic(Edit):
    """The delta times `scale`: above 1 the task is exaggerated, below 0 it is unlearned.

    Source: Ilharco et al. 2023, "Editing models with task arithmetic" (ICLR), section 2
    """

    takes_16_bits: ClassVar[bool] = True

    scale: float = Field(default=0.5, allow_inf_nan=False)

    @property
    def sliceable(self) -> bool:
        return True

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        return torch.lerp(base, tuned, self.scale)

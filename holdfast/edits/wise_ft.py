"""WiSE-FT."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import between
from holdfast.edits.base import Edit, only
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class WiseFt(Edit):
    """Interpolate every weight between the base (alpha 0) and the tuned model (alpha 1).

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (CVPR), section 3
    """

    EXAMPLES_OFF: ClassVar = ({"alpha": 1.0},)
    EXAMPLES_BASE: ClassVar = ({"alpha": 0.0},)
    takes_16_bits: ClassVar[bool] = True

    alpha: float = Field(default=0.5, ge=0, le=1, description="share of the tuned model")

    @property
    def sliceable(self) -> bool:
        return True

    def __call__(self, base: Tensor, tuned: Sequence[Tensor], location: TensorLocation) -> Tensor:
        return between(base, only(tuned), self.alpha)

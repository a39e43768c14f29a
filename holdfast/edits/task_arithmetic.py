"""Task arithmetic: sums of task vectors."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import add_delta, between, total_change
from holdfast.edits.base import Edit
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class TaskArithmetic(Edit):
    """Add the deltas of one or several tuned models, times `scale`: above 1 a task is exaggerated, below 0 unlearned.

    Source: Ilharco et al. 2023, "Editing models with task arithmetic" (ICLR), section 2
    """

    EXAMPLES_OFF: ClassVar = ({"scale": 1.0},)
    EXAMPLES_BASE: ClassVar = ({"scale": 0.0},)
    takes_several: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    scale: float = Field(default=0.5, allow_inf_nan=False, description="factor of the sum of the changes")

    @property
    def sliceable(self) -> bool:
        return True

    def __call__(self, base: Tensor, tuned: Sequence[Tensor], location: TensorLocation) -> Tensor:
        if len(tuned) == 1:
            return between(base, tuned[0], self.scale)
        return add_delta(base, total_change(base, tuned), self.scale)

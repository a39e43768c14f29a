"""Shadow fine-tuning: the delta of one model on another."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import add_delta, total_change
from holdfast.edits.base import Edit
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class Shadow(Edit):
    """Add to an instruct model what fine-tuning changed in its base: `edit BASE INSTRUCT TUNED`, INSTRUCT + (TUNED - BASE).

    When a chat model would lose its manners if it were tuned itself: tune the base that it came from, and carry the change over. The
    result has the files and the tokenizer of INSTRUCT; more tuned bases may follow, and their changes are added. Costs one pass.

    Source: Wu et al. 2025, "Shadow-FT: tuning instruct via base" (arXiv 2505.12716)
    """

    EXAMPLES_OFF: ClassVar = ({"scale": 0.0},)
    EXAMPLES_BASE: ClassVar = ()  # No field takes the instruct model back to its base.
    takes_several: ClassVar[bool] = True
    fewest: ClassVar[int] = 2

    scale: float = Field(default=1.0, allow_inf_nan=False, description="factor of the change that is carried over")

    @property
    def sliceable(self) -> bool:
        return True

    def __call__(self, base: Tensor, tuned: Sequence[Tensor], location: TensorLocation) -> Tensor:
        instruct, *others = tuned
        if not others:
            raise ValueError("shadow takes an instruct model and at least one tuned base, not 1 model")
        return add_delta(instruct, total_change(base, others), self.scale)

"""KL to the base."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._divergence import divergence, frozen_copy, predictions
from holdfast.methods.base import Context, Method
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.model import LabelLogits


@dataclass
class KlBase(Method):
    """A penalty where the model's predictions leave the base's: strength * KL(base | model), the mean over predicted tokens.

    Beside a method that chooses the parameters, such as `Full`; with `Replay`, its texts are held too. The base is a
    frozen copy that reads every batch again, behind the same soft prompt: memory for one more model, and a forward more.

    Source: Li and Hoiem 2016, "Learning without forgetting" (ECCV), equation 3, at temperature 1
    """

    KIND: ClassVar[str] = "KlBase"

    strength: float = Field(
        default=0.1, ge=0, allow_inf_nan=False, description="weight of the KL divergence to the base beside the loss"
    )

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves."""
        # No copy at strength 0, which is plain fine-tuning: it must not cost the memory of a second model.
        self._base = frozen_copy(context.model.model) if self.strength else None

    def penalty(self, model: PrefixModel, rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Return strength * the weighted mean of the tokens' divergences, a scalar in nats."""
        if self._base is None:
            return None
        base = predictions(self._base, model, rows, output.states.device)
        return self.strength * output.total(divergence, base) / output.weights.sum()

"""KL to the base."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

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
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}

    strength: float = Field(default=0.1, ge=0, allow_inf_nan=False)

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves."""
        self._base = copy.deepcopy(context.model.model).requires_grad_(False).eval() if self.strength else None

    def penalty(self, model: PrefixModel, rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """strength * the weighted mean of the tokens' divergences, a scalar."""
        if self._base is None:
            return None
        device = output.states.device
        with torch.no_grad():
            base = PrefixModel(self._base.to(device), model.prompts, model.budget)(rows)  # pyright: ignore[reportArgumentType]
        return self.strength * output.total(divergence, base) / output.weights.sum()


def divergence(logits: Tensor, labels: Tensor, weights: Tensor, base: Tensor) -> Tensor:
    """Return the weighted sum of KL(base | model) over n places: logits `[n, V]` twice, weights `[n]` -> a scalar, in nats."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    found, expected = F.log_softmax(logits.to(exact), -1), F.log_softmax(base.to(exact), -1)
    each = F.kl_div(found, expected, reduction="none", log_target=True).sum(-1)
    return torch.dot(each, weights.to(exact))

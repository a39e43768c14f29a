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
        # No copy at strength 0, which is plain fine-tuning: it must not cost the memory of a second model.
        self._base = copy.deepcopy(context.model.model).requires_grad_(False).eval() if self.strength else None

    def penalty(self, model: PrefixModel, rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Return strength * the weighted mean of the tokens' divergences, a scalar in nats."""
        if self._base is None:
            return None
        device = output.states.device
        with torch.no_grad():
            # The same prompts in front of both: the penalty is on what the weights changed, and not on what the prompt does.
            base = PrefixModel(self._base.to(device), model.prompts, model.budget)(rows)  # pyright: ignore[reportArgumentType]
        return self.strength * output.total(divergence, base) / output.weights.sum()


def divergence(logits: Tensor, labels: Tensor, weights: Tensor, base: Tensor) -> Tensor:
    """Return the weighted sum of KL(base | model) over n positions: logits `[n, V]` twice, weights `[n]` -> a scalar, in nats."""
    # At least float32: the divergence is a small difference of log-probabilities, of which bfloat16 keeps two or three digits.
    exact = torch.promote_types(logits.dtype, torch.float32)
    model_log_p, base_log_p = F.log_softmax(logits.to(exact), -1), F.log_softmax(base.to(exact), -1)
    # PyTorch takes the model first: kl_div(q, p) is KL(p | q), with the base as p.
    each = F.kl_div(model_log_p, base_log_p, reduction="none", log_target=True).sum(-1)
    return torch.dot(each, weights.to(exact))

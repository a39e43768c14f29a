"""KL from a frozen copy of the start: the engine of the methods that hold predictions."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.prefix.model import PrefixModel
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits


def frozen_copy(model: Any) -> Any:
    """Return a copy of a transformers model that never moves, in eval mode: dropout in it would be noise in every divergence."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def frozen_start(model: PrefixModel) -> PrefixModel:
    """Return a copy of a model that never moves, its prompts as they are now: some methods move them too."""
    prompts = copy.deepcopy(model.prompts).requires_grad_(False)
    return PrefixModel(frozen_copy(model.model), prompts, model.budget)  # pyright: ignore[reportArgumentType]


def predictions(base: Any, model: PrefixModel, rows: Sequence[Row], device: torch.device) -> "LabelLogits":
    """Return the frozen copy's predictions of the rows, without gradients, behind the prompts of `model` as they are now."""
    with torch.no_grad():
        # Moved only here: the methods prepare before the model goes to its device. The second move costs nothing. The same prompts
        # in front of both: the divergence is what the weights changed, and not what the prompt does.
        return PrefixModel(base.to(device), model.prompts, model.budget)(rows)  # pyright: ignore[reportArgumentType]


def divergence(logits: Tensor, labels: Tensor, weights: Tensor, base: Tensor) -> Tensor:
    """Return the weighted sum of KL(base | model) over n positions: logits `[n, V]` twice, weights `[n]` -> a scalar, in nats."""
    # At least float32: the divergence is a small difference of log-probabilities, of which bfloat16 keeps two or three digits.
    exact = torch.promote_types(logits.dtype, torch.float32)
    model_log_p, base_log_p = F.log_softmax(logits.to(exact), -1), F.log_softmax(base.to(exact), -1)
    # PyTorch takes the model first: kl_div(q, p) is KL(p | q), with the base as p.
    each = F.kl_div(model_log_p, base_log_p, reduction="none", log_target=True).sum(-1)
    return torch.dot(each, weights.to(exact))

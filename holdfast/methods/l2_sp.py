"""L2-SP: weight decay towards the start."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods.base import Context, Method
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.model import LabelLogits, PrefixModel


@dataclass
class L2Sp(Method):
    """A penalty on the squared distance of the weights that move from where they started: strength / 2 * |w - w0|^2.

    Beside a method that chooses the parameters, such as `Full`. It keeps a copy of the start: memory for one more model.

    Source: Li et al. 2018, "Explicit inductive bias for transfer learning with convolutional networks" (ICML), equation 2
    """

    KIND: ClassVar[str] = "L2Sp"

    strength: float = Field(
        default=0.01,
        ge=0,
        allow_inf_nan=False,
        description="weight of half the squared distance to the base beside the loss",
    )

    def prepare(self, context: Context) -> None:
        """Copy the weights before they move."""
        # All of them: the method that chooses which will move says so only after every method has prepared.
        weights = context.model.model.named_parameters() if self.strength else ()
        self._start = {name: weight.detach().clone() for name, weight in weights}

    def penalty(self, model: "PrefixModel", rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Return strength / 2 * the sum of squared differences, a scalar."""
        if not self.strength:
            return None
        moving = {name: weight for name, weight in model.model.named_parameters() if weight.requires_grad}
        # At the first call: what does not move is given up, and the rest goes to the device to which the model went meanwhile.
        if self._start.keys() - moving.keys() or any(self._start[n].device != w.device for n, w in moving.items()):
            self._start = {name: self._start[name].to(weight.device) for name, weight in moving.items()}
        return self.strength / 2 * distance(moving, self._start)


def distance(weights: dict[str, Any], start: dict[str, Tensor]) -> Tensor:
    """Return the sum of squared differences over all tensors, a scalar."""
    return torch.stack([(weight - start[name]).pow(2).sum() for name, weight in weights.items()]).sum()

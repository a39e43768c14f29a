"""SimPO: preference optimisation without a reference."""

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._pairs import PreferenceMethod


@dataclass
class Simpo(PreferenceMethod):
    """The chosen answer becomes more likely by the token than the rejected one, by a margin and without a reference.

    The loss of a pair is -log sigmoid(beta * (chosen - rejected) - gamma), where each is the mean log-likelihood of the answer's tokens.
    Nothing is copied, so that it costs what plain training of the two answers costs; and nothing but the margin holds the
    model where it was: join `+kl_base` or `+self_replay`.

    Source: Meng et al. 2024, "SimPO: simple preference optimization with a reference-free reward" (NeurIPS), equation 6
    """

    KIND: ClassVar[str] = "Simpo"
    from_start: ClassVar[bool] = False

    beta: float = Field(default=2.0, gt=0, allow_inf_nan=False, description="scale of the difference in nats a token")
    gamma: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="margin that the scaled difference should have"
    )

    def losses(self, scores: Tensor, tokens: Tensor) -> Tensor:
        """Return the loss of each pair."""
        means = scores / tokens
        return -F.logsigmoid(self.beta * (means[:, 0] - means[:, 1]) - self.gamma)

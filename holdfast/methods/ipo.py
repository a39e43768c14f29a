"""IPO: preference optimisation whose margin has a goal."""

from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._pairs import PreferenceMethod


@dataclass
class Ipo(PreferenceMethod):
    """The chosen answer becomes more likely than the rejected one by 1 / (2 beta) nats a token, and not by more.

    As DPO, whose margin grows without end where the pairs are unambiguous: the loss is (chosen - rejected - 1 / (2 beta))^2, where each
    is the mean over the answer's tokens of the log-likelihood under the model minus that under a frozen copy of the start. Use it where
    a few clean pairs are trained for long. It costs what DPO costs: memory for one more model, and a forward more.

    Source: Azar et al. 2024, "A general theoretical paradigm to understand learning from human preferences" (AISTATS), equation 17; by
    the token as TRL, which asked its authors
    """

    KIND: ClassVar[str] = "Ipo"

    beta: float = Field(
        default=0.1, gt=0, allow_inf_nan=False, description="the goal of the margin is 1 / (2 beta) nats a token"
    )

    def losses(self, scores: Tensor, tokens: Tensor) -> Tensor:
        """Return the loss of each pair."""
        means = scores / tokens
        return (means[:, 0] - means[:, 1] - 1 / (2 * self.beta)) ** 2

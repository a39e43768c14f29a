"""DPO: direct preference optimisation."""

from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._pairs import PreferenceMethod


@dataclass
class Dpo(PreferenceMethod):
    """The chosen answer becomes more likely than the rejected one, measured from where the model starts.

    Examples have a `rejected` answer beside the target, which is the chosen one. The loss of a pair is
    -log sigmoid(beta * (chosen - rejected)), where each is the answer's log-likelihood under the model minus that under a frozen
    copy of the start; a step takes the mean over its pairs. Beside a method that chooses the parameters, such as `Full`. Both
    answers follow one prompt in one packed row, which is computed once. `--curate own_pairs` makes the pairs of the model's own answers.

    Source: Rafailov et al. 2023, "Direct preference optimization" (NeurIPS), equation 7
    """

    KIND: ClassVar[str] = "Dpo"

    beta: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="weight of the reference: the larger, the nearer to the base",
    )

    def losses(self, scores: Tensor, tokens: Tensor) -> Tensor:
        """Return the loss of each pair."""
        return pair_losses(scores, self.beta)


def pair_losses(gained: Tensor, beta: float) -> Tensor:
    """Return -log sigmoid(beta * (chosen - rejected)) of pairs: log-likelihood ratios to the reference [pairs, 2] -> [pairs]."""
    # logsigmoid and not log(sigmoid(...)), which is -inf in float32 where the margin is far below 0.
    return -F.logsigmoid(beta * (gained[:, 0] - gained[:, 1]))

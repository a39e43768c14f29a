"""DPO: direct preference optimisation."""

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
from holdfast.tasks.task import Example

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits


@dataclass
class Dpo(Method):
    """The chosen answer becomes more likely than the rejected one, measured from where the model starts.

    Examples have a `rejected` answer beside the target, which is the chosen one. The loss of a pair is
    -log sigmoid(beta * (chosen - rejected)), where each is the answer's log-likelihood under the model minus that under a frozen
    copy of the start; a step takes the mean over its pairs. Beside a method that chooses the parameters, such as `Full`. Both
    answers follow one prompt in one packed row, which is computed once.

    Source: Rafailov et al. 2023, "Direct preference optimization" (NeurIPS), equation 7
    """

    KIND: ClassVar[str] = "Dpo"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-5, "steps": 200}
    replaces_loss: ClassVar[bool] = True

    beta: float = Field(
        default=0.1,
        gt=0,
        allow_inf_nan=False,
        description="weight of the reference: the larger, the nearer to the base",
    )

    def beside(self, other: Method) -> str:
        """Refuse rows that are no pair."""
        if other.adds_rows:
            return "its rows are pairs of answers, and the other adds rows that have no pair; hold the model with kl_base or l2_sp"
        return ""

    def completions(self, example: Example) -> Sequence[str]:
        """Return the chosen and the rejected answer.

        Raises:
            ValueError: the example has no rejected answer, or the two are equal.
        """
        if example.rejected is None or example.rejected == example.target:
            problem = "no `rejected` answer" if example.rejected is None else "two equal answers"
            raise ValueError(
                f"dpo: an example has {problem} (its target is {example.target!r:.80}); give every line of train.jsonl a `rejected` "
                "answer that differs from its target"
            )
        return example.target, example.rejected

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves: the reference."""
        self._model = context.model
        # In eval mode: dropout in the reference would be noise in every log-likelihood ratio.
        self._reference = copy.deepcopy(context.model.model).requires_grad_(False).eval()

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows of whole pairs."""
        # Where truncation left an answer no label, the loop would drop its row alone, and the other would pair with a stranger.
        lost = {row.group for row in rows if not row.labels}
        return [row for row in rows if row.group not in lost]

    def objective(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor:
        """Return the sum of the pairs' losses; rows of a pair follow one another, the chosen one first.

        Raises:
            ValueError: another method added rows that have no pair.
        """
        if alone := [row.name for row in rows if row.group is None]:
            raise ValueError(
                f"dpo: {alone[0]} is no pair of answers; leave out the method that adds such rows (replay), or hold the model with "
                "kl_base or l2_sp"
            )
        with torch.no_grad():
            # Moved only here: the methods prepare before the model goes to its device. The second move costs nothing.
            reference = PrefixModel(self._reference.to(output.states.device), self._model.prompts, self._model.budget)  # pyright: ignore[reportArgumentType]
            start = reference(rows).log_likelihoods(len(rows))
        gained = output.log_likelihoods(len(rows)) - start
        # A group is never cut between forwards, so rows 2i and 2i + 1 are the chosen and the rejected answer of one example.
        return pair_losses(gained.view(-1, 2), self.beta).sum()

    def units(self, rows: Sequence[Row]) -> float:
        """Return the number of pairs."""
        return len(rows) / 2


def pair_losses(gained: Tensor, beta: float) -> Tensor:
    """Return -log sigmoid(beta * (chosen - rejected)) of pairs: log-likelihood ratios to the reference [pairs, 2] -> [pairs]."""
    # logsigmoid and not log(sigmoid(...)), which is -inf in float32 where the margin is far below 0.
    return -F.logsigmoid(beta * (gained[:, 0] - gained[:, 1]))

"""Pairs of a chosen and a rejected answer: the engine of DPO, IPO and SimPO, which differ in the loss of a pair alone."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._divergence import frozen_copy, predictions
from holdfast.methods.base import Context, Method, RowParts
from holdfast.plugins import snake
from holdfast.row import Row
from holdfast.tasks.task import Example

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits


@dataclass
class PreferenceMethod(Method):
    """Each example is two rows that share their prompt: the chosen answer, and then the rejected one."""

    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-5, "steps": 200}

    from_start: ClassVar[bool] = True
    """True if answers are measured from where the model starts, so that a copy of the start is kept."""

    def __post_init__(self) -> None:
        self._seen: list[Tensor] = []

    @abstractmethod
    def losses(self, scores: Tensor, tokens: Tensor) -> Tensor:
        """Return the loss of each pair, `[pairs]`.

        Args:
            scores: Log-likelihoods of the chosen and the rejected answers, minus those by the start where it is kept, `[pairs, 2]`.
            tokens: Their numbers of tokens, `[pairs, 2]`.
        """

    def beside(self, other: Method) -> str:
        """Refuse rows that are no pair."""
        if other.adds_rows:
            return "its rows are pairs of answers, and the other adds rows that have no pair; hold the model with kl_base or l2_sp"
        return ""

    def row_parts(self, example: Example, demonstrations: Sequence[Example]) -> Sequence[RowParts]:
        """Return a row with the chosen and one with the rejected answer.

        Raises:
            ValueError: the example has no rejected answer, or the two are equal.
        """
        # Of answers that differ by spaces around them there is nothing to prefer either.
        if example.rejected is None or example.rejected.strip() == example.target.strip():
            problem = "no `rejected` answer" if example.rejected is None else "two equal answers"
            raise ValueError(
                f"{self._name}: has {problem} (its target is {example.target!r:.80}); give every line of train.jsonl a "
                "`rejected` answer that differs from its target"
            )
        return RowParts(demonstrations, example.target), RowParts(demonstrations, example.rejected)

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves: the reference."""
        self._model = context.model
        if self.from_start:
            self._reference = frozen_copy(context.model.model)

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows of whole pairs."""
        self._seen.clear()
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
                f"{self._name}: {alone[0]} is no pair of answers; leave out the method that adds such rows (replay), or hold the model "
                "with kl_base or l2_sp"
            )
        scores = output.log_likelihoods(len(rows))
        if self.from_start:
            with torch.no_grad():
                start = predictions(self._reference, self._model, rows, output.states.device).log_likelihoods(len(rows))
            scores = scores - start
        # A group is never cut between forwards, so rows 2i and 2i + 1 are the chosen and the rejected answer of one example.
        scores = scores.view(-1, 2)
        tokens = torch.tensor([len(row.labels) for row in rows], device=scores.device).view(-1, 2)
        self._seen.append(scores.detach())
        return self.losses(scores, tokens).sum()

    def units(self, rows: Sequence[Row]) -> float:
        """Return the number of pairs."""
        return len(rows) / 2

    def figures(self) -> Mapping[str, float]:
        """Return the share of pairs whose chosen answer has the higher score, and what the chosen ones have gained: often below 0."""
        seen = torch.cat(self._seen)
        return {
            "chosen_above_rejected": float((seen[:, 0] > seen[:, 1]).float().mean()),
            "chosen_log_likelihood": float(seen[:, 0].mean()),
        }

    @property
    def _name(self) -> str:
        return snake(type(self).__name__)

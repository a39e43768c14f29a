"""SDFT: the model is taught by itself, where it sees the answer as a demonstration."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.inference.sampling import Sampling
from holdfast.methods._divergence import divergence, frozen_start
from holdfast.methods._own_answers import answers, closed, room, with_answer
from holdfast.methods.base import Context, Method, RowParts
from holdfast.row import Row
from holdfast.tasks.task import Example

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits


@dataclass
class Sdft(Method):
    """Distil the model from itself: its own answers, judged by the model before training that reads the right answer as a demonstration.

    In each step the model answers the batch's questions; a frozen copy of its start reads the same questions behind the example itself,
    answered, and says at each token of these answers what it would write. The loss is KL(teacher, model), the mean over an answer's tokens
    and over answers. What is learned is near what the model would have written anyway. Use it for generation with a model that is
    good at using demonstrations; a small one is not, and then learns little. Beside a method that chooses the parameters, such as `Full`.
    It costs memory for one more model, and in each step a generation of up to `max_new_tokens` and a forward more: several times the time.

    Source: Shenfeld et al. 2026, "Self-distillation enables continual learning" (arXiv 2601.19897), with the forward KL
    """

    KIND: ClassVar[str] = "Sdft"
    asks_questions: ClassVar[bool] = True

    max_new_tokens: int = Field(default=64, ge=1, description="most tokens of the model's own answers")
    temperature: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="at which they are drawn; 0 is the likeliest answer"
    )
    seed: int = Field(default=0, description="of the draw")

    def beside(self, other: Method) -> str:
        """Refuse rows that no teacher reads."""
        if other.adds_rows:
            return "each of its rows has a second one for its teacher, and the other adds rows that have none; hold the model with kl_base"
        return ""

    def row_parts(self, example: Example, demonstrations: Sequence[Example]) -> Sequence[RowParts]:
        """Return the row of the model and that of its teacher, which reads the example itself, answered, as the last demonstration."""
        return RowParts(demonstrations, example.target), RowParts([*demonstrations, example], example.target)

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves: the teacher.

        Raises:
            ValueError: the model has an encoder.
        """
        if not context.pretrained.architecture.one_sequence:
            raise ValueError(
                "sdft: a model with an encoder is not taught by its own demonstrations here; use kl_base or l2_sp"
            )
        self._teacher = frozen_start(context.model)
        self._read: dict[int | None, Row] = {}

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the questions with the model's own answers; what the teacher reads of each is kept by its group."""
        groups: dict[int | None, list[Row]] = {}
        for row in rows:
            # Where truncation left an answer no label, nobody knows where its question ends.
            if row.labels:
                groups.setdefault(row.group, []).append(row)
        pairs = [pair for group, pair in groups.items() if group is not None and len(pair) == 2]
        sampling = Sampling(
            self.max_new_tokens, temperature=self.temperature, seed=self.seed * 1_000_003 + context.step
        )
        self._read.clear()
        written = []
        for (plain, shown), (answer,) in zip(
            pairs, answers([plain for plain, _ in pairs], sampling, context), strict=True
        ):
            if answer := closed(plain, answer, self.max_new_tokens, context)[: room(shown, context)]:
                written.append(with_answer(plain, answer))
                self._read[plain.group] = with_answer(shown, answer)
        return written

    def objective(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor:
        """Return the sum over answers of the mean divergence of their tokens, in nats."""
        with torch.no_grad():
            # Moved only here, where the stage's device is known for sure; the second move costs nothing.
            teacher = self._teacher.to(output.states.device)([self._read[row.group] for row in rows])
        return output.total(divergence, teacher)

    def units(self, rows: Sequence[Row]) -> float:
        """Return the number of answers."""
        return len(rows)

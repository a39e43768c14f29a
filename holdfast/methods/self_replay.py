"""Self-replay: texts of the starting model's making hold it where it was."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._divergence import divergence, frozen_copy, predictions
from holdfast.methods._written_texts import encoded, written
from holdfast.methods.base import Context, Method
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits


@dataclass
class SelfReplay(Method):
    """Hold the model to its start on texts that it wrote itself: loss + coefficient * KL(base, model), the mean over these texts' tokens.

    For those who have no general data: the texts are drawn from the model before it moves, some from nothing but the beginning of a
    text and, where it has a chat template, some as a user's message and its answer. Beside a method that chooses the parameters, such
    as `Full`; the texts stand behind no soft prompt. Costs memory for one more model, a sampling before the first step (minutes on a
    CPU), and for each step `self_batch` texts through both models. A coefficient of 10 keeps more where the model can do the target
    already, and costs points of a target that it cannot do yet.

    Source: Marek et al. 2026, arXiv 2605.26097 (coefficients 1, 3 and 10; 32 texts beside 128 rows)
    """

    KIND: ClassVar[str] = "SelfReplay"

    coefficient: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="weight of the KL beside the loss; 0 is off"
    )
    self_texts: int = Field(default=128, ge=1, description="texts that are sampled before the first step")
    self_length: int = Field(default=128, ge=2, description="tokens of a text at most")
    self_batch: int = Field(default=8, ge=1, description="texts of a step")
    self_chat: float = Field(
        default=0.5, ge=0, le=1, description="share of the texts that are chats, where the model has a chat template"
    )
    seed: int = Field(default=0, description="seed of the texts and of their order")

    def __post_init__(self) -> None:
        self._texts: list[str] = []

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves.

        Raises:
            ValueError: the model has an encoder.
        """
        self._texts, self._rows = [], []
        if not self.coefficient:
            return
        if not context.pretrained.architecture.plain_texts:
            raise ValueError(
                "self_replay: a model with an encoder writes answers to inputs, and no texts of its own; use kl_base or l2_sp"
            )
        self._base = frozen_copy(context.model.model)

    def added_rows(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        """Return drawn texts; the first call samples them all."""
        if not self.coefficient:
            return ()
        # Not in `prepare`: now the model is on its device, and a resumed run has the texts in its state.
        if not self._texts:
            settings = (self.self_texts, self.self_length, self.self_chat, self.seed)
            self._texts = written("self_replay", context.language_model(), *settings)
        self._rows = self._rows or encoded(self._texts, context)
        random = np.random.default_rng([self.seed, context.step])
        chosen = [self._rows[i] for i in random.integers(len(self._rows), size=self.self_batch)]
        weight = 1 / sum(len(row.tokens) - 1 for row in chosen)
        return [Row(row.tokens, (0.0, *[weight] * (len(row.tokens) - 1)), name=row.name) for row in chosen]

    def own_loss(self, model: PrefixModel, rows: Sequence[Row], output: "LabelLogits") -> Tensor:
        """Return coefficient * the part of the step's mean divergence that these texts have, a scalar in nats."""
        base = predictions(self._base, model, rows, output.states.device)
        return self.coefficient * output.total(divergence, base)

    def state_dict(self) -> dict[str, Any]:
        """Return the texts."""
        return {"texts": self._texts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with these texts."""
        # A state from before the first batch has none, and those that were sampled since stay.
        if state["texts"]:
            self._texts, self._rows = state["texts"], []

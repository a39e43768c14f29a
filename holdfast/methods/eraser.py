"""The eraser: a soft prompt that makes a tuned model answer as its base did."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.inference.model import Model
from holdfast.methods._divergence import divergence, frozen_copy, predictions
from holdfast.methods._written_texts import encoded, written
from holdfast.methods.base import Context
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits


@dataclass
class Eraser(PromptTuning):
    """A soft prompt in front of the tuned model, trained until its predictions are the base's: KL(base | tuned behind the prompt).

    A probe (`--probe eraser`): an ability that a few vectors bring back was hidden and not lost. It trains on texts that the base wrote,
    and on no task, so it can teach none; it is measured on the general tasks and then left off. Costs a sampling, memory for one
    more model, and a training as long as that of a soft prompt.

    Source: the reversed "SFT-Eraser" of github.com/yuplin2333/sft-reverse, with the KL to the base of Li and Hoiem 2016
    """

    KIND: ClassVar[str] = "Eraser"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.1, "steps": 200, "weight_decay": 0.0}
    stages: ClassVar[tuple[str, ...]] = ("tuned",)

    length: int = Field(default=16, ge=1, description="vectors of the prompt")
    self_texts: int = Field(default=128, ge=1, description="texts that the base writes before the first step")
    self_length: int = Field(default=64, ge=2, description="tokens of a text at most")
    self_chat: float = Field(default=0.5, ge=0, le=1, description="share of chats, where there is a chat template")
    tuned: Any = None

    def prepare(self, context: Context) -> None:
        """Keep the model, which is the base, and put the tuned weights into it, to stand frozen behind the prompt.

        Raises:
            ValueError: no tuned stage was given, or its weights are not those of this model.
        """
        if "tuned" not in context.inputs:
            raise ValueError("eraser: there is no tuned model to look into; use --probe eraser beside a method")
        if not context.pretrained.architecture.plain_texts:
            raise ValueError(
                "eraser: a model with an encoder writes answers to inputs, and no texts of its own to train on"
            )
        self._texts, self._rows = [], []
        self._base = frozen_copy(context.model.model)
        moved = context.weights_in(context.inputs["tuned"] / "model")
        with torch.no_grad():
            for name, weight in context.model.model.named_parameters():
                if name not in moved or moved[name].shape != weight.shape:
                    raise ValueError(f"eraser: {name} is not the same tensor in the tuned model and in its base")
                weight.copy_(moved[name])
        super().prepare(context)

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return texts of the base in the place of the rows, as many."""
        # Not in `prepare`: now the models go to the device, and a resumed run has the texts in its state.
        if not self._texts:
            base = Model(
                replace(context.pretrained, model=self._base.to(next(context.model.model.parameters()).device))
            )
            self._texts = written("eraser", base, self.self_texts, self.self_length, self.self_chat, self.seed)
        if not self._rows:
            length = context.pretrained.max_length - self.length
            for row in encoded(self._texts, context):
                tokens = row.tokens[:length]
                self._rows.append(replace(row, tokens=tokens, weights=(0.0, *[1.0] * (len(tokens) - 1))))
        random = np.random.default_rng([self.seed, context.step])
        chosen = random.integers(len(self._rows), size=len(rows))
        return [replace(self._rows[i], prompt=row.prompt) for i, row in zip(chosen, rows, strict=True)]

    def objective(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor:
        """Return the divergence from what the base alone predicts, summed over the tokens, a scalar in nats."""
        alone = [replace(row, prompt=None) for row in rows]
        base = predictions(self._base, PrefixModel(self._base), alone, output.states.device)
        return output.total(divergence, base)

    def state_dict(self) -> dict[str, Any]:
        """Return the texts."""
        return {"texts": self._texts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with these texts."""
        # A state from before the first batch has none, and those that were written since stay.
        if state["texts"]:
            self._texts, self._rows = state["texts"], []

"""PSFT: proximal supervised fine-tuning."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._divergence import frozen_start
from holdfast.methods._token_factors import log_probability
from holdfast.methods.base import Context, Method
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits


@dataclass
class Psft(Method):
    """Stop teaching a token once it is `1 + clip` times as likely as some steps ago: the clipped objective of PPO, for given answers.

    With r = p / p_old, where p_old is the probability by the model of up to `refresh` steps before, the loss of a token is
    -min(r, clip(r, 1 - clip, 1 + clip)). All answers are given ones and good, so only the upper bound ever counts. Its gradient is that of
    the token loss times r, and 0 above the bound: that is how it is computed, and the log shows the token loss times these.
    Beside a method that chooses the parameters, such as `Full`. Use it where plain training at a useful rate makes the model too
    sure of the answers' form. At a small rate no bound is reached, and it is plain training.
    It costs memory for one more model, and a forward more in each step.

    Source: Zhu et al. 2025, "Proximal supervised fine-tuning" (arXiv 2508.17784); bound and steps after the authors' script
    """

    KIND: ClassVar[str] = "Psft"

    clip: float = Field(
        default=0.28, gt=0, description="by how much a token may become likelier before it is no longer taught"
    )
    refresh: int = Field(
        default=8, ge=1, description="steps after which the model is compared with its weights of then; 1 is off"
    )

    def beside(self, other: Method) -> str:
        """Refuse losses that are not summed over tokens."""
        if other.replaces_loss:
            return "it bounds the token loss, and the other has a loss of its own in its place"
        return ""

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves."""
        self._model = context.model
        # Of a comparison with the weights of this very step every ratio is 1.
        self._old = frozen_start(context.model) if self.refresh > 1 else None

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows as they are; at the beginning of a round, take over the weights of now."""
        if context.step % self.refresh == 0:
            self._take_over(dict(self._model.named_parameters()))
        return rows

    @torch.no_grad()
    def token_factors(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor | None:
        """Return p / p_old of each label, and 0 where that is above the bound: [N]."""
        if self._old is None:
            return None
        # Moved only here, where the stage's device is known for sure; the second move costs nothing.
        before = self._old.to(output.states.device)(rows)
        ratio = (output.each(log_probability) - before.each(log_probability)).exp()
        return torch.where(ratio > 1 + self.clip, 0.0, ratio)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of the beginning of the round, of all that move."""
        if self._old is None:
            return {}
        old = dict(self._old.named_parameters())
        return {"old": {name: old[name] for name, weight in self._model.named_parameters() if weight.requires_grad}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on comparing with these weights."""
        self._take_over(state.get("old", {}))

    @torch.no_grad()
    def _take_over(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights into the model that the other is compared with."""
        if self._old is not None:
            for name, weight in self._old.named_parameters():
                if name in weights:
                    weight.copy_(weights[name])

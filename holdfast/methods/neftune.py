"""NEFTune: noise on the word embeddings that the model reads while it trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from holdfast.methods.base import Context, Method
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel


@dataclass
class Neftune(Method):
    """Add uniform noise to the word embeddings that the model reads while it trains, each number at most alpha / sqrt(L D).

    Beside a method that chooses the parameters, such as `Full`. Use it on answers of several sentences, as in instructions, of which the
    model learns the very words otherwise. L is the length of the longest row of a forward, and D the width of the embeddings. Rows that
    begin alike read the same noise there, because what they share is computed once; a soft prompt gets none, and the model is scored
    without any. It costs nothing.

    Source: Jain et al. 2024, "NEFTune: noisy embeddings improve instruction finetuning" (ICLR), algorithm 1
    """

    KIND: ClassVar[str] = "Neftune"

    alpha: float = Field(
        default=5.0, ge=0, allow_inf_nan=False, description="size of the noise; 0 adds none, the paper has 5, 10 and 15"
    )
    seed: int = Field(default=0, ge=0, description="seed of the draw")

    def prepare(self, context: Context) -> None:
        """Watch the forwards of the model."""
        self._handle: RemovableHandle | None = None
        self._random: torch.Generator | None = None
        if self.alpha:
            context.model.register_forward_pre_hook(self._begin)
            # Also of a forward that fails, such as for lack of memory: it is tried again, and would add the noise twice.
            context.model.register_forward_hook(self._end, always_call=True)

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows as they are; the noise of their step is drawn from the seed and the step."""
        device = context.model.model.get_input_embeddings().weight.device
        self._random = context.generator(self.seed, device)
        return rows

    def after_backward(self, model: "PrefixModel") -> None:
        """End the noise: what others compute outside a step, such as importances, is of the words as they are."""
        self._random = None

    def _begin(self, model: "PrefixModel", inputs: tuple[Sequence[Row], ...]) -> None:
        random = self._random
        if random is None or not (model.training and torch.is_grad_enabled()):
            return
        length = max(len(row.tokens) for row in inputs[0])

        def noisy(module: Any, tokens: Any, words: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return words  # The model is tried out before its first forward, by numbers of which nothing is learned.
            largest = self.alpha / (length * words.shape[-1]) ** 0.5
            noise = torch.empty(words.shape, device=words.device)
            return words + noise.uniform_(-largest, largest, generator=random).to(words)

        self._handle = model.model.get_input_embeddings().register_forward_hook(noisy)

    def _end(self, model: "PrefixModel", inputs: Any, output: Any) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = None

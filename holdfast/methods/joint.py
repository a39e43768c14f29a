"""Prompt and model trained together: the ablation that shows why ProMoT has two stages."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods.base import ParameterGroup
from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class Joint(PromptTuning):
    """Train a soft prompt and every weight at once; the prompt comes off for other tasks, as in ProMoT.

    Use it as the control of ProMoT: in the paper it forgets as much as full fine-tuning does. It costs full fine-tuning over rows that are
    longer by the prompt. `prompt_rate` multiplies the learning rate for the prompt; the paper uses one rate for both.

    Source: Wang et al. 2024 (ICLR), table 6, "joint"
    """

    KIND: ClassVar[str] = "Joint"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}
    moves_the_model: ClassVar[bool] = True

    prompt_rate: float = Field(default=1.0, ge=0, description="the prompt's learning rate as a multiple of the stage's")

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return both folders: the model that moved, and the prompt that comes off it."""
        return ("model", "prompt")

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the prompt, then all weights."""
        # No scale by the embeddings' size, as prompt tuning has it: here the rate is that of the weights, as in the paper.
        yield ParameterGroup([self.vectors], self.prompt_rate, weight_decay=False)
        yield from Full().parameters(model)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write `prompt/` and `model/`."""
        PromptTuning.export(self, model, pretrained, folder)
        Full().export(model, pretrained, folder)

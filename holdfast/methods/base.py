"""The contract of a training method: hooks around one loop, all of them optional."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import LabelLogits, PrefixModel


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that may move, with what their learning rate is multiplied by."""

    parameters: Sequence[nn.Parameter]
    learning_rate_scale: float = 1.0
    weight_decay: bool = True


class Method:
    """What happens during training, beside the loss of the task.

    A subclass is a pydantic dataclass: its fields are its configuration, checked at construction. The loop owns
    `zero_grad`, backward, clipping and the step; a method never touches the optimizer. `model` is the
    `PrefixModel`: `.model` is the transformers model and `.prompts` are its soft prompts.

    To find out how much memory a token takes, `batch` and `penalty` are called before the first step too; then `load_state_dict`
    puts back what `state_dict` gave.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    """Training settings (steps, learning rate, ...) that work for this method without tuning."""

    stage: ClassVar[str] = "model"
    """What the stage is called when this method is the only one: what it trains."""

    @property
    def leaves(self) -> tuple[str, ...]:
        """The folders that `export` writes: of `model`, `prompt` and `adapter`. The evaluations of a run follow from them."""
        return ("prompt",) if self.stage == "prompt" else ("model",)

    def prepare(self, model: "PrefixModel", pretrained: "Pretrained", rows: Sequence[Row]) -> None:
        """Once, before anything moves: add modules, keep a copy of the start, measure. `rows` is a sample of the data."""

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup] | None:
        """The parameters that may move, or None where this method leaves the choice to another."""
        return None

    def batch(self, rows: list[Row]) -> list[Row]:
        """Change the rows of a step: their tokens or their weights, or rows added."""
        return rows

    def penalty(self, model: "PrefixModel", rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Added to the loss of a step: a scalar. Called once for each forward, and weighted by its share of the step's tokens."""
        return None

    def after_backward(self, model: "PrefixModel") -> None:
        """Mask or project the gradients; they are complete, and not clipped yet."""

    def after_step(self, model: "PrefixModel") -> None:
        """After the optimizer's step."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside the parameters: tensors, numbers and strings."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write what this method trained below `folder`: `model/`, `prompt/` or `adapter/`."""


def chooser(methods: Sequence[Method]) -> Method:
    """The one method of a composition that chooses the parameters.

    Raises:
        ValueError: none does, or two do.
    """
    choosing = [m for m in methods if type(m).parameters is not Method.parameters]
    if len(choosing) != 1:
        names = ", ".join(type(m).__name__ for m in choosing or methods) or "nothing"
        what = (
            "both choose which parameters move; keep one"
            if choosing
            else "chooses no parameters; add one that does, such as full (full+l2_sp)"
        )
        raise ValueError(f"methods: {names} {what}")
    return choosing[0]

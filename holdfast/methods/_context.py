"""Objects that the hooks of a method are given, or return."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import Parameter

from holdfast.row import Row
from holdfast.tasks.task import Example

if TYPE_CHECKING:
    from holdfast.inference.language_model import LanguageModel
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that may move, with what their learning rate is multiplied by."""

    parameters: Sequence[Parameter]
    learning_rate_scale: float = 1.0
    weight_decay: bool = True


def by_dimension(parameters: Iterable[Parameter]) -> list[ParameterGroup]:
    """Return the parameters in two groups: matrices, and what has one dimension (norms, biases), which does not decay."""
    moving = list(parameters)
    # Decay pulls towards 0, and a norm's scale of 0 would switch its layer off.
    vectors = ParameterGroup([p for p in moving if p.ndim <= 1], weight_decay=False)
    return [ParameterGroup([p for p in moving if p.ndim > 1]), vectors]


@dataclass(frozen=True, eq=False)
class Context:
    """The surroundings of a method: what it may look at, and what it may generate with.

    `model` holds the transformers model (`.model`) and the prompts that stand before its rows (`.prompts`); `rows` is a sample of
    the stage's training rows; `inputs` are the folders of the stages that stand in the method's own fields, by field name; `steps` is
    the length of the stage, and `step` the number of the step, from 0: what is drawn by it is the same after a resume. `pass_steps` is the
    number of steps in which all training rows are there once, 0 where it is not known.
    """

    model: "PrefixModel"
    pretrained: "Pretrained"
    rows: Sequence[Row] = ()
    inputs: Mapping[str, Path] = field(default_factory=dict)
    steps: int = 0
    step: int = 0
    pass_steps: int = 0

    @property
    def epoch(self) -> int:
        """Return the number of passes over the training rows before this step."""
        return self.step // self.pass_steps if self.pass_steps else 0

    def generator(self, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a source of random numbers for this step: a run that goes on draws the same ones again.

        The numbers of another seed, and of another step, have nothing in common with them.
        """
        # Mixed: the generator of the CPU takes no more than the lowest 32 bits of a number, in which a seed above them would be lost.
        mixed = int(np.random.SeedSequence([seed, self.step]).generate_state(1, np.uint64)[0])
        return torch.Generator(device).manual_seed(mixed)

    def language_model(self, prompt: int | None = None) -> "LanguageModel":
        """Return the model with its weights of now, text in and text out, behind the prompt of that number or none."""
        from holdfast.inference.model import Model  # not at the top: listing the methods needs no torch

        attached = None if prompt is None else self.model.attached(prompt)
        return Model(replace(self.pretrained, model=self.model.model), attached)

    def weights_in(self, folder: Path) -> dict[str, Parameter]:
        """Return the weights of another model in a folder, by name: one that was tuned from this one, or before it."""
        from holdfast.models import loading

        # Code that comes with the model runs there where it may here.
        other = loading.load(folder, trust_remote_code=self.pretrained.trust_remote_code)
        return dict(other.model.named_parameters())


@dataclass(frozen=True, slots=True)
class RowParts:
    """One row of an example: the demonstrations that stand before its input, and the answer that it predicts."""

    demonstrations: Sequence[Example]
    answer: str

"""Several absorbers at once in the place of ProMoT's soft prompt."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.methods.lora_absorber import LoraAbsorber
from holdfast.methods.prefix_tuning import PrefixTuning
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.prompts.combined import Joined

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class JoinedAbsorber(Method):
    """Train a soft prompt, a deep prefix and a LoRA together; they are attached together, and come off together.

    Use it in the first stage of ProMoT (`promot_joined`) where one of them alone does not take the task up. It costs what its parts cost
    together; the model stays frozen. `length` vectors of a soft prompt, `deep` positions of a deep prefix and `rank` of a LoRA; 0 leaves
    one out. The learning rate is the soft prompt's (see `prompt_tuning`); the others have the part of it that their own defaults are.

    Source: of this library; the parts are Lester et al. 2021, Li and Liang 2021, Hu et al. 2022
    """

    KIND: ClassVar[str] = "JoinedAbsorber"
    defaults: ClassVar[dict[str, Any]] = PromptTuning.defaults
    moves_the_model: ClassVar[bool] = False

    length: int = Field(default=16, ge=0, description="vectors of the soft prompt; 0 leaves it out")
    deep: int = Field(default=0, ge=0, description="positions of the deep prefix; 0 leaves it out")
    rank: int = Field(default=4, ge=0, description="rank of the LoRA; 0 leaves it out")
    alpha: float = Field(default=8.0, gt=0, description="scale of the LoRA, divided by its rank")
    seed: int = Field(default=0, description="seed of the initial values")

    def __post_init__(self) -> None:
        self._methods = self._make()
        if len(self._methods) < 2:
            raise ValueError(
                "length, deep, rank: two of them must be above 0; one part alone is prompt_tuning, prefix_tuning or lora_absorber"
            )

    def prepare(self, context: Context) -> None:
        """Make each part as its own method does.

        Raises:
            ValueError: one is not for this model.
        """
        prompts = context.model.prompts
        before = len(prompts)
        for method in self._methods:
            method.prepare(context)
        self.prompt = Joined(list(prompts[before:]))
        del prompts[before:]  # They stand before rows together, not each.
        prompts.append(self.prompt)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the parameters of all parts, each part at the rate of its own method."""
        for method in self._methods:
            # Relative to the stage's learning rate, which by default is the soft prompt's.
            rate = method.defaults["learning_rate"] / self.defaults["learning_rate"]
            groups = method.parameters(model) or ()
            yield from (replace(group, learning_rate_scale=rate * group.learning_rate_scale) for group in groups)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write a folder `prompt/` with a PEFT adapter for each part."""
        assert isinstance(self.prompt, Joined)
        self.prompt.save(folder / "prompt", base=pretrained.source, task_type=pretrained.architecture.task_type)

    def _make(self) -> list[Method]:
        """Return the method that makes and trains each part whose size is above 0."""
        methods: list[Method] = []
        # The order is that of the folders `1`, `2`, ... in which the parts are saved.
        if self.length:
            methods.append(PromptTuning(length=self.length, seed=self.seed))
        if self.deep:
            methods.append(PrefixTuning(length=self.deep, seed=self.seed))
        if self.rank:
            methods.append(LoraAbsorber(rank=self.rank, alpha=self.alpha, seed=self.seed))
        return methods

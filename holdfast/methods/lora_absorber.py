"""A LoRA in the place of ProMoT's soft prompt."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.prompts.low_rank import LowRank, initial

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class LoraAbsorber(Method):
    """Train a LoRA that comes off again as a soft prompt does: attached for the task, removed for everything else.

    Use it to repeat the paper's ablation of stage 1 (`promot_lora_absorber`), where rank 2 and 4 were far worse than a soft prompt. Time
    and memory are those of a LoRA; rows behind different ones are computed in forwards of their own. `rank` and `alpha` as in the LoRA
    paper (the update is scaled by alpha / rank); `target` names the modules, by default every linear layer but the head.

    Source: Wang et al. 2024 (ICLR), appendix C.7, after Hu et al. 2022 (ICLR)
    """

    KIND: ClassVar[str] = "LoraAbsorber"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "steps": 400, "weight_decay": 0.0}
    moves_the_model: ClassVar[bool] = False

    rank: int = Field(default=4, ge=1, description="rank of the update of each matrix")
    alpha: float = Field(default=8.0, gt=0, description="scale of the update, divided by the rank")
    target: str = Field(
        default="all-linear", description="names of the modules that are updated, with commas, or all-linear"
    )
    seed: int = Field(default=0, description="seed of the initial values")

    def prepare(self, context: Context) -> None:
        """Make the updates, which are zero before training."""
        self.prompt = initial(context.model.model, self.rank, self.alpha, self.target, self.seed)
        context.model.prompts.append(self.prompt)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return both matrices of every module."""
        # Without decay: the update is a product, and decay on both factors would pull it to 0 twice.
        yield ParameterGroup([*self.updates.down, *self.updates.up], weight_decay=False)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write a PEFT LoRA adapter into `prompt/`."""
        # Not into `adapter/`: it is no part of the model that is kept, and comes off as a soft prompt does.
        self.updates.save(folder / "prompt", base=pretrained.source, task_type=pretrained.architecture.task_type)

    @property
    def updates(self) -> LowRank:
        """Return the matrices that are trained."""
        assert isinstance(self.prompt, LowRank)
        return self.prompt

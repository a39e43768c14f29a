"""Several low-rank skills and a router that mixes them by task: the first phase of Poly and of multi-head routing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from safetensors.torch import save_file
from torch import Tensor

from holdfast.methods._skills import ADAPTER, FILE, SkillLayers
from holdfast.methods.base import Context

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class SkillTraining(SkillLayers):
    """Train an inventory of low-rank skills on several tasks, and for each task how it mixes them; the model stays frozen.

    The first phase of the recipes `poly`, `mhr`, `mhr_z` and `mhr_mu`, which go on to another task; by PEFT (Poly). Every adapted matrix
    has `skills` pairs of A and B, cut into `splits` (1: Poly, more: multi-head routing), and for each task a weight of each. Its
    adapter is the average over skills, what a task gets that nobody has trained. Costs the memory of `skills` LoRAs and a forward for
    each task of a step.

    Source: Ponti et al. 2023, "Combining parameter-efficient modules for task-level generalisation" (EACL), sections 2 and 3
    """

    KIND: ClassVar[str] = "SkillTraining"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "steps": 200, "weight_decay": 0.0}

    skills: int = Field(default=8, ge=1, description="low-rank updates of each matrix that are mixed")
    splits: int = Field(default=1, ge=1, description="parts of each matrix that are mixed by themselves; 1 is Poly")
    rank: int = Field(default=4, ge=1, description="rank of a skill")
    target: str = Field(
        default="all-linear", description="names of the modules, with commas; all-linear: all but the head"
    )

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folder of the average adapter."""
        return ("adapter",)

    def prepare(self, context: Context) -> None:
        """Put the skills into the model, which still computes what it did: every B is 0.

        Raises:
            ValueError: `target` names no linear module, or `splits` does not divide a module's sizes.
        """
        tasks = max((row.task_number for row in context.rows if row.task_number is not None), default=-1) + 1
        self.insert(context, self.target, self.skills, self.splits, self.rank, tasks)
        context.model.task_context = self.routed

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the average of the skills as a plain LoRA, and the skills themselves for the phase after."""
        tensors: dict[str, Tensor] = {}
        for name, layer in self._layers.items():
            for key, tensors_of in (("A", layer.poly_lora_A), ("B", layer.poly_lora_B)):
                tensors[f"{name}.{key}"] = tensors_of[ADAPTER].detach().cpu().contiguous()
        save_file(tensors, folder / FILE)
        self.plain().save(folder / "adapter", base=pretrained.source, task_type=pretrained.architecture.task_type)
        pretrained.model = self._peft.unload()
        model.task_context = None

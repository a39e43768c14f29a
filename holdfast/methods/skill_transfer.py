"""Adapt trained low-rank skills to another task: the second phase of Poly and of multi-head routing."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from safetensors.torch import load_file

from holdfast.methods._skills import ADAPTER, FILE, SkillLayers
from holdfast.methods.base import Context, ParameterGroup
from holdfast.models import loading

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class SkillTransfer(SkillLayers):
    """Adapt an inventory of skills that other tasks have trained; the result is one plain LoRA, and the model with it.

    The second phase of the recipes `poly` and `mhr` (`adapt=all`: skills and a new row of the router), `mhr_z` (`routing`: the row
    alone, a few numbers for each matrix) and `mhr_mu` (`average`: the mean of the skills, one LoRA). Their sizes are those of the phase
    before. Costs what LoRA does, times the number of skills where these move.

    Source: Caccia et al. 2023, "Multi-head adapter routing for cross-task generalization" (NeurIPS), sections 3 and 4
    """

    KIND: ClassVar[str] = "SkillTransfer"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 3e-3, "steps": 100, "weight_decay": 0.0}
    stages: ClassVar[tuple[str, ...]] = ("skills_of",)

    adapt: Literal["all", "routing", "average"] = Field(
        default="all", description="what moves: skills and routing, routing alone, or the average of the skills"
    )
    skills_of: Any = None

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folders of the adapter and of the model that has it."""
        return ("model", "adapter")

    def prepare(self, context: Context) -> None:
        """Put the trained skills into the model, with a new row of the router, which mixes all of them alike.

        Raises:
            ValueError: no stage has trained skills.
        """
        if "skills_of" not in context.inputs:
            raise ValueError(
                "skill_transfer: there is no phase before it that trained skills; use --method poly or mhr"
            )
        trained = load_file(context.inputs["skills_of"] / FILE)
        splits, skills, _, rank = next(value.shape for name, value in trained.items() if name.endswith(".A"))
        average = self.adapt == "average"
        modules = ",".join(name.removesuffix(".A") for name in trained if name.endswith(".A"))
        self.insert(context, modules, 1 if average else skills, splits, rank, 0)
        with torch.no_grad():
            for name, layer in self._layers.items():
                for key, parameters in (("A", layer.poly_lora_A), ("B", layer.poly_lora_B)):
                    values = trained[f"{name}.{key}"]
                    parameters[ADAPTER].copy_(values.mean(1, keepdim=True) if average else values)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return what `adapt` says."""
        groups = list(super().parameters(model))
        return {"all": groups, "routing": groups[1:], "average": groups[:1]}[self.adapt]

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the mixed skills as a plain LoRA, and the model with it."""
        plain = self.plain()
        plain.save(folder / "adapter", base=pretrained.source, task_type=pretrained.architecture.task_type)
        pretrained.model = self._peft.unload()
        with torch.no_grad():
            for name, (down, up) in plain().updates.items():
                weight = pretrained.model.get_submodule(name).weight
                weight.copy_(weight.float() + (up @ down).to(weight.device))
        loading.save(pretrained, folder / "model")

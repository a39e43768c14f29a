"""Any adapter of PEFT, by the name of its configuration."""

import copy
import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn
from transformers.pytorch_utils import Conv1D

from holdfast.methods._linear_targets import linear_targets, target_ends
from holdfast.methods._peft_types import configurations, has_layers, merges, quiet
from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import merging
from holdfast.plugins import unknown
from holdfast.prefix.capability import Capability, capability, capability_now

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel

NUDGE = (
    0.02  # spread of what is added for a trial: at their start most adapters change nothing, and would prove nothing
)
# Initial values of a LoRA that leave the weights what they are. Those of PISSA_NITER_*, say, are another part of them each time.
INITIAL = (True, False, "gaussian", "orthogonal")
Option = bool | int | float | str | list[str] | list[int] | None


@dataclass
class Peft(Method):
    """Train any adapter of PEFT: `--method peft:IA3`, `peft:VERA`, `peft:HIRA`, ...; a plain model where PEFT can merge it.

    To compare adapters at equal budget, and to use one that has no method of its own here. `config` sets fields of PEFT's configuration
    of that type (`--set model.config.r=4`); its own defaults hold for the rest. Prompts are methods of this library
    (`prompt_tuning`, `prefix_tuning`). A type whose forward takes more than tokens, whose ranks PEFT's own loop must move, or that mixes
    rows computed side by side is refused when the model is loaded. Where PEFT cannot merge a type, the run says so and keeps `adapter/`.
    Time and memory are those of the type, below those of full fine-tuning.

    Source: Mangrulkar et al. 2022, "PEFT: state-of-the-art parameter-efficient fine-tuning methods" (the library)
    """

    KIND: ClassVar[str] = "Peft"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 2e-3, "steps": 200, "weight_decay": 0.0}
    selects: ClassVar[str] = "type"

    type: str = Field(default="LORA", description="PEFT's name of the adapter, such as IA3")
    config: dict[str, Option] = Field(default={}, description="fields of PEFT's configuration: model.config.r=4")
    target: str = Field(
        default="auto",
        description="names of the modules, with commas; all-linear: all but the head; auto: PEFT's choice for the model",
    )
    merge: bool = Field(
        default=True, description="merge into the weights at the end, where PEFT can; else it stays an adapter"
    )

    def versions(self) -> Sequence[str]:
        """Refuse a type or a field that PEFT does not have; nothing else is named by the fields.

        Raises:
            ValueError: the nearest is named.
        """
        config = configurations().get(self.type.upper())
        if config is None:
            raise unknown("adapter of PEFT:", self.type, sorted(configurations()))
        if issubclass(config, peft.PromptLearningConfig):
            raise ValueError(
                f"peft:{self.type}: is a prompt in front of the model; take --method prompt_tuning or prefix_tuning, which come off again"
            )
        fields = sorted(config.__dataclass_fields__)
        if "total_step" in fields:
            raise ValueError(f"peft:{self.type}: PEFT's own training loop has to move its ranks; take peft:LORA")
        if not has_layers(self.type.upper()):
            raise ValueError(
                f"peft:{self.type}: PEFT computes it beside the model, in a forward of its own; take another type"
            )
        known = [name for name in fields if name not in ("target_modules", "task_type", "peft_type")]
        for key in (key for key in self.config if key not in known):
            near = [f"config.{name}" for name in difflib.get_close_matches(key, known, n=1, cutoff=0.5)]
            near = ["target"] if key == "target_modules" else near
            line = (
                f"did you mean --set model.{near[0]}={self.config[key]}?" if near else f"there are: {', '.join(known)}"
            )
            raise ValueError(f"unknown field of PEFT's {config.__name__}: model.config.{key}; {line}")
        start = self.config.get("init_lora_weights", True)
        if start not in INITIAL:
            raise ValueError(
                f"model.config.init_lora_weights={start!r}: is drawn anew from the weights, or from a calibration of PEFT's own, when the "
                f"adapter is loaded; use one of {', '.join(map(str, INITIAL))}, or --method corda, or lora with model.init=pissa"
            )
        return ()

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folders of the adapter and, where it is merged, of the model."""
        return ("model", "adapter") if self.merge and merges(self.type.upper()) else ("adapter",)

    def prepare(self, context: Context) -> None:
        """Put the adapter into the model, in place, and try a forward through it.

        Raises:
            ValueError: PEFT refuses the configuration for this model, or the model does not compute rows rightly with it.
        """
        model, label, settings = context.model.model, f"peft:{self.type}", dict[str, Any](self.config)
        packed = capability(model).packed
        if self.target != "auto":
            settings["target_modules"] = _ends(model, self.target)
        with quiet():
            try:
                self._peft = self._adapted(context, settings)
                self._moving = [p for p in self._peft.parameters() if p.requires_grad]
            except Exception as error:  # PEFT's classes refuse by errors of many classes.
                raise ValueError(
                    f"{label}: PEFT refuses it for this model: {_line(error)}; see model.config"
                ) from error
            if not self._moving:
                raise ValueError(f"{label}: nothing of it is trained; see model.config")
            verdict = self._tried(context, label)
        if packed and not verdict.packed:
            raise ValueError(
                f"{label}: computes rows side by side otherwise than alone ({verdict.why}); take another type"
            )
        if "model" in self.leaves:
            self._try_merge(label)
        elif self.merge:
            print(f"{label}: PEFT cannot merge it, so the run keeps adapter/ alone", file=sys.stderr, flush=True)

    def _adapted(self, context: Context, settings: Mapping[str, Any]) -> Any:
        """Return PEFT's model; where PEFT knows no modules for models of this kind, of all linear layers."""
        options = {"task_type": context.pretrained.architecture.task_type, **settings}
        try:
            return peft.get_peft_model(context.model.model, configurations()[self.type.upper()](**options))
        except ValueError as error:
            if "target_modules" not in str(error) or self.target != "auto":
                raise
            options["target_modules"] = _ends(context.model.model, "all-linear")
            return peft.get_peft_model(context.model.model, configurations()[self.type.upper()](**options))

    def _tried(self, context: Context, label: str) -> Capability:
        """Return whether rows side by side are what each is alone, tried away from the adapter's start, which is then put back."""
        start, random = [parameter.detach().clone() for parameter in self._moving], torch.Generator().manual_seed(0)
        with torch.no_grad():
            try:
                for parameter in self._moving:
                    parameter.add_(NUDGE * torch.randn(parameter.shape, generator=random).to(parameter))
                context.model(context.rows[:1])
                return capability_now(context.model.model)
            except Exception as error:
                raise ValueError(
                    f"{label}: its forward takes more than tokens: {_line(error)}; take another type"
                ) from error
            finally:
                for parameter, value in zip(self._moving, start, strict=True):
                    parameter.copy_(value)

    def _try_merge(self, label: str) -> None:
        """Merge a copy of one layer: now, and not after hours of training."""
        adapted = next((m for m in self._peft.modules() if isinstance(m, BaseTunerLayer)), None)
        try:
            if adapted is not None:
                copy.deepcopy(adapted).merge(adapter_names=["default"])
        except Exception as error:
            raise ValueError(
                f"{label}: PEFT cannot merge it into this model: {_line(error)}; --set model.merge=false keeps it an adapter"
            ) from error

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return what PEFT trains."""
        # As it was when the adapter was put in: the loop has frozen everything since.
        yield ParameterGroup(self._moving, weight_decay=False)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the adapter as PEFT reads it and, where it is merged, the model."""
        self._peft.peft_config["default"].base_model_name_or_path = pretrained.source
        with quiet():
            self._peft.save_pretrained(folder / "adapter", save_embedding_layers=False)
            if "model" in self.leaves:
                merging.save_merged(pretrained, self._peft, folder / "adapter", folder / "model")


def _ends(model: Any, target: str) -> list[str]:
    """Return ends of the names of linear layers, as PEFT takes them: those that the user gave, or the last part of each name."""
    chosen = linear_targets(model, target, (nn.Linear, Conv1D))
    if target != "all-linear":
        return target_ends(list(chosen), target)
    # Not "all-linear" itself: some configurations cannot be read back with that.
    return sorted({name.rpartition(".")[2] for name in chosen})


def _line(error: Exception) -> str:
    """Return an error of PEFT's as one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__

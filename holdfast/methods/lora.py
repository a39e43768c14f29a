"""LoRA, by PEFT."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import peft
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn
from transformers.pytorch_utils import Conv1D

from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import merging, spread
from holdfast.plugins import unknown

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel

ADAPTABLE = (nn.Linear, nn.Embedding, Conv1D)  # the modules of a language model that PEFT has a LoRA layer for


@dataclass
class Lora(Method):
    """Low-rank updates of the linear layers; the model's own weights stay frozen. Mergeable afterwards.

    `rank` and `alpha` as in the paper (the update is scaled by alpha / rank); `target` names the modules, by default
    every linear layer but the head. With `merge`, the run also holds the merged model.

    Source: Hu et al. 2022, "LoRA: low-rank adaptation of large language models" (ICLR)
    """

    KIND: ClassVar[str] = "Lora"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 5e-4, "steps": 200, "weight_decay": 0.0}

    rank: int = Field(default=16, ge=1, description="rank of the update of each matrix")
    alpha: float = Field(default=32.0, gt=0, description="scale of the update, divided by the rank")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the inputs of the update that are dropped in training"
    )
    target: str = Field(
        default="all-linear", description="names of the modules that are updated, with commas, or all-linear"
    )
    init: Literal["default", "gaussian", "pissa", "olora"] = Field(
        default="default", description="initial values, as PEFT names them"
    )
    merge: bool = Field(default=True, description="add the update to the weights at the end; else it stays an adapter")

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folders of the adapter and, with `merge`, of the merged model."""
        return ("model", "adapter") if self.merge else ("adapter",)

    def prepare(self, context: Context) -> None:
        """Put the adapter into the model, in place.

        Raises:
            ValueError: `target` names a module that the model does not have; the nearest is named.
        """
        targets: str | list[str] = self.target
        if self.target != "all-linear":
            adaptable = [name for name, module in context.model.model.named_modules() if isinstance(module, ADAPTABLE)]
            targets = target_ends(adaptable, self.target)
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType]
            lora_dropout=self.dropout,
            target_modules=targets,
            init_lora_weights=True if self.init == "default" else self.init,
            task_type=context.pretrained.architecture.task_type,
        )
        if self.init in ("pissa", "olora"):
            spread.check_in_memory(context.model.model, f"lora.init={self.init}")
        with merging.adapting(), spread.stand_ins(context.model.model):
            self._peft: Any = peft.get_peft_model(context.model.model, config)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the adapter's matrices."""
        # By PEFT's names, and not by what requires a gradient: the loop has just frozen everything.
        yield ParameterGroup([p for name, p in model.model.named_parameters() if "lora_" in name], weight_decay=False)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the adapter as PEFT reads it and, with `merge`, the merged model."""
        # The base by the source that every artefact of a run records: PEFT would write the name that the configuration happens to have.
        self._peft.peft_config["default"].base_model_name_or_path = pretrained.source
        self._peft.save_pretrained(folder / "adapter", save_embedding_layers=False)  # "auto" asks the hub for the base
        if self.merge:
            merging.save_merged(pretrained, self._peft, folder / "adapter", folder / "model")


def target_ends(adaptable: Sequence[str], target: str) -> list[str]:
    """Return the names in `target`, each the end of a module's name, as PEFT reads them; `adaptable` are the modules' names.

    Raises:
        ValueError: one is the end of no name (the nearest is named), or there is none.
    """
    ends = [part.strip() for part in target.split(",") if part.strip()]
    for end in ends:
        # PEFT says nothing of a name that fits no module as long as another one does.
        # The dots make `q_proj` match `attn.q_proj` and not `attn.seq_proj`.
        if not any(f".{name}".endswith(f".{end}") for name in adaptable):
            raise unknown("module in `target`", end, sorted({name.rpartition(".")[2] for name in adaptable}))
    if not ends:
        raise ValueError(f"target={target!r}: names no module; leave it out to adapt every linear layer")
    return ends

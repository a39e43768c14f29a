"""LoRA, by PEFT."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import peft
import torch
from peft.tuners.lora import LoraLayer
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from holdfast.methods._linear_targets import linear_targets, target_ends
from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import merging, spread
from holdfast.prompts.low_rank import LowRank

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel

ADAPTABLE = (nn.Linear, nn.Embedding, Conv1D)  # the modules of a language model that PEFT has a LoRA layer for
# Initial values that PEFT takes out of the weights: A and B are a part of each, and the rest stays.
TAKEN_OUT = ("pissa", "olora")


@dataclass
class Lora(Method):
    """Train low-rank updates of the linear layers, and freeze the model's own weights.

    Use it where memory is short: gradients and optimizer states are those of the updates alone, 1 to 2 % of the weights, and the time is
    that of full fine-tuning or a little more. `rank` and `alpha` as in the paper (the update is scaled by alpha / rank); `target` names
    the modules, by default every linear layer but the head. With `merge`, the run also holds the merged model. `init` of `pissa` (the
    largest singular triplets) and `olora` (a QR decomposition) start from a part of each weight, at a decomposition of each matrix once;
    the adapter that they leave is the difference to that start, a LoRA of twice the rank for the untouched base.

    Source: Hu et al. 2022, "LoRA: low-rank adaptation of large language models" (ICLR)
    """

    KIND: ClassVar[str] = "Lora"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 5e-4, "steps": 200, "weight_decay": 0.0}

    rank: int = Field(
        default=16, ge=1, description="rank of the update of each matrix", json_schema_extra={"usual": [1, 1024]}
    )
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
            ValueError: `target` names a module that the model does not have (the nearest is named), or one whose weight is another's too;
                or `init` takes the start out of weights that are quantised, laid aside, or smaller than `rank`.
        """
        model, targets = context.model.model, self.target
        if self.target != "all-linear":
            adaptable = [name for name, module in model.named_modules() if isinstance(module, ADAPTABLE)]
            targets = target_ends(adaptable, self.target)
            adapted = [name for name in adaptable if any(f".{name}".endswith(f".{end}") for end in targets)]
            if shared := merging.tied(model, adapted):
                # Merging would change the other one too, and the model that is written would not be the one that was trained.
                raise ValueError(
                    f"target={self.target!r}: {shared[0]} has its weight in common with another module (embeddings and head are tied), and "
                    "an update of one of them cannot be merged; leave it out"
                )
        if self.init in TAKEN_OUT:
            self._check_decomposes(context)
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType]
            lora_dropout=self.dropout,
            target_modules=targets,
            init_lora_weights=True if self.init == "default" else self.init,
            task_type=context.pretrained.architecture.task_type,
        )
        with merging.adapting(), spread.stand_ins(model):
            self._peft: Any = peft.get_peft_model(model, config)
        layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        self._start = {name: _matrices(layer) for name, layer in layers.items()} if self.init in TAKEN_OUT else {}

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the adapter's matrices."""
        # By PEFT's names, and not by what requires a gradient: the loop has just frozen everything.
        yield ParameterGroup([p for name, p in model.model.named_parameters() if "lora_" in name], weight_decay=False)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the adapter as PEFT reads it and, with `merge`, the merged model."""
        if self._start:
            self._difference(model.model).save(
                folder / "adapter", base=pretrained.source, task_type=pretrained.architecture.task_type
            )
        else:
            # The base by the source that every artefact of a run records: PEFT would write the name that the configuration happens to have.
            self._peft.peft_config["default"].base_model_name_or_path = pretrained.source
            self._peft.save_pretrained(
                folder / "adapter", save_embedding_layers=False
            )  # "auto" asks the hub for the base
        if self.merge:
            merging.save_merged(pretrained, self._peft, folder / "adapter", folder / "model")

    def _check_decomposes(self, context: Context) -> None:
        """Refuse initial values that are a part of the weights where the weights have no such part."""
        name, loading = f"lora.init={self.init}", context.pretrained.loading
        if loading.quantised:
            raise ValueError(
                f"dtype={loading.dtype}: {name} splits the model's own weights, which are whole numbers; leave init out, or use bf16"
            )
        spread.check_in_memory(context.model.model, name)
        for module, layer in linear_targets(context.model.model, self.target, (nn.Linear, Conv1D)).items():
            shape: Any = layer.weight.shape
            if self.rank > min(shape):
                sizes = " x ".join(map(str, shape))
                raise ValueError(f"rank={self.rank}: {module} is {sizes} and has no part of that rank; lower it")

    def _difference(self, model: Any) -> LowRank:
        """Return B A - B0 A0 as a LoRA of twice the rank: what training changed, on the base as it was before B0 A0 was taken out."""
        modules, matrices = dict(model.named_modules()), {}
        for name, (down0, up0) in self._start.items():
            down, up = _matrices(modules[name])
            matrices[name] = torch.cat([down, down0]), torch.cat([up, -up0], 1)
        transposed = any(isinstance(modules[name].get_base_layer(), Conv1D) for name in matrices)
        return LowRank(matrices, self.alpha / self.rank, transposed)


def _matrices(layer: Any) -> tuple[Tensor, Tensor]:
    """Return copies of A and B on the CPU."""
    down, up = (part["default"].weight.detach() for part in (layer.lora_A, layer.lora_B))
    return down.to("cpu", copy=True), up.to("cpu", copy=True)

"""A LoRA that starts from a part of each weight, chosen by what the module reads on calibration rows: the engine of CorDA and LoRA-Null."""

from abc import abstractmethod
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import peft
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from holdfast.methods._calibration import covariances, named_rows, written_rows
from holdfast.methods._linear_targets import linear_targets, matrix
from holdfast.methods._named_content import content_versions
from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import loading, spread
from holdfast.models.merging import adapting
from holdfast.plugins import snake
from holdfast.prompts.low_rank import LowRank
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel

TRAINED, START = "default", "start"


@dataclass
class CalibratedLora(Method):
    """The part of each weight that moves, B A of `rank`, is taken out of the weight itself; the rest of it stays.

    Two adapters of PEFT stand on the untouched base: one that is trained, and the negative of where it started. What is exported is
    their difference, a plain LoRA, so that the adapter loads on the base as it was.
    """

    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 2e-4, "steps": 200, "weight_decay": 0.0}

    rank: int = Field(default=16, ge=1, description="rank of the part that moves")
    alpha: float = Field(default=16.0, gt=0, description="the update is scaled by alpha / rank")
    target: str = Field(
        default="all-linear", description="names of the modules, with commas; all-linear: all but the head"
    )
    calibrate: str = Field(
        default="", description="a TASK, or a file of texts (one a line, or JSON lines with a `text`); empty: see above"
    )
    samples: int = Field(default=128, ge=1, description="calibration rows")
    sample_length: int = Field(default=128, ge=2, description="most tokens of a calibration row")
    merge: bool = Field(default=True, description="also write the merged model")
    seed: int = Field(default=0, description="of the texts that the model writes")

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folders of the adapter and, with `merge`, of the merged model."""
        return ("model", "adapter") if self.merge else ("adapter",)

    @abstractmethod
    def factors(self, weight: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return A `[rank, in]` and B `[out, rank]`, balanced, of a weight `[out, in]` and the covariance `[in, in]` of its inputs."""

    def calibration_rows(self, context: Context) -> list[Row]:
        """Return the rows to calibrate on: those of `calibrate`, or texts that the model writes itself."""
        if self.calibrate:
            return named_rows(self.calibrate, context.pretrained, self.samples, self.sample_length)
        return written_rows(context, self.samples, self.sample_length, self.seed)

    def versions(self) -> tuple[str, ...]:
        """Return the fingerprints of what `calibrate` names."""
        return content_versions(self.calibrate)

    def prepare(self, context: Context) -> None:
        """Calibrate, and put the adapters into the model, which still computes what it did.

        Raises:
            ValueError: a target is no linear module, is the head, or is smaller than the rank; or the calibration rows fail.
        """
        model = context.model.model
        if context.pretrained.loading.quantised:
            raise ValueError(
                f"dtype={context.pretrained.loading.dtype}: {snake(type(self).__name__)} splits the model's own weights, which are whole "
                "numbers; use lora, or bf16"
            )
        spread.check_in_memory(model, snake(type(self).__name__))
        modules = self._modules(model)
        # Of float32 also where the model is of 16 bits: the last singular vectors are far below its precision.
        with torch.no_grad():
            measured = covariances(context, modules, self.calibration_rows(context))
            factors = {name: self.factors(matrix(modules[name]).float(), measured[name]) for name in measured}
        self._insert(model, context.pretrained.architecture.task_type, factors)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the matrices of the adapter that is trained."""
        moving = chain.from_iterable(map(self._moving, self._layers.values()))
        yield ParameterGroup(list(moving), weight_decay=False)

    def _moving(self, layer: Any) -> list[nn.Parameter]:
        return [layer.lora_A[TRAINED].weight, layer.lora_B[TRAINED].weight]

    def state_dict(self) -> dict[str, Any]:
        """Return where the adapter started, so that a resumed run need not trust its own calibration to give the same bits."""
        return {name: list(_matrices(layer, START)) for name, layer in self._layers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the adapter that is subtracted."""
        for name, layer in self._layers.items():
            for start, saved in zip(_matrices(layer, START), state[name], strict=True):
                start.copy_(saved)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write what training changed as a plain LoRA on the untouched base and, with `merge`, the model with it."""
        scale, changed = self.alpha / self.rank, {}
        for name, layer in self._layers.items():
            (down, up), (down0, up0) = _matrices(layer, TRAINED), _matrices(layer, START)
            if torch.equal(down, down0):  # A is frozen, or nothing moved: B - B0 says it all.
                changed[name] = down, up + up0
            else:
                changed[name] = torch.cat([down, down0]), torch.cat([up, up0], 1)
        transposed = any(isinstance(layer.get_base_layer(), Conv1D) for layer in self._layers.values())
        plain = LowRank({name: (down.cpu(), up.cpu()) for name, (down, up) in changed.items()}, scale, transposed)
        plain.save(folder / "adapter", base=pretrained.source, task_type=pretrained.architecture.task_type)
        if self.merge:
            # After the adapter is written: the layers are taken out of the model.
            pretrained.model = self._peft.unload()
            modules = dict(pretrained.model.named_modules())
            with torch.no_grad():
                for name, (down, up) in changed.items():
                    weight = matrix(modules[name])
                    weight.copy_(weight.float() + scale * (up.float() @ down.float()))
            loading.save(pretrained, folder / "model")

    def _modules(self, model: Any) -> dict[str, nn.Module]:
        chosen = linear_targets(model, self.target, nn.Linear | Conv1D)
        for name, module in chosen.items():
            if self.rank > min(module.weight.shape):  # pyright: ignore[reportArgumentType]
                sizes = " x ".join(map(str, module.weight.shape))  # pyright: ignore[reportArgumentType]
                raise ValueError(f"rank={self.rank}: {name} is {sizes} and has no part of that rank; lower it")
        return chosen

    def _insert(self, model: Any, task_type: str, factors: dict[str, tuple[Tensor, Tensor]]) -> None:
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType]
            target_modules=list(factors),
            task_type=task_type,
        )
        with adapting():
            self._peft: Any = peft.get_peft_model(model, config)
            self._peft.add_adapter(START, config)
        self._peft.base_model.set_adapter([TRAINED, START])
        modules = dict(model.named_modules())
        self._layers: dict[str, Any] = {name: modules[name] for name in factors}
        for name, (down, up) in factors.items():
            for adapter, sign in ((TRAINED, 1), (START, -1)):
                down_matrix, up_matrix = _matrices(self._layers[name], adapter)
                down_matrix.copy_(down)
                up_matrix.copy_(sign * up)


def _matrices(layer: Any, adapter: str) -> tuple[Tensor, Tensor]:
    """Return A and B of one of a layer's adapters."""
    return layer.lora_A[adapter].weight.detach(), layer.lora_B[adapter].weight.detach()

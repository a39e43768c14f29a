"""Weights made of a base and of models that were tuned from it: the engine of the methods that learn how to combine them."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.utils import parametrize

from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import loading, resolve
from holdfast.models.fingerprint import fingerprint
from holdfast.plugins import snake

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


class Combination(nn.Module):
    """A weight computed from the base's, which is frozen, and those of tuned models, `tuned` [T, *shape]; a subclass has what learns.

    It returns the base until it is `active`: the other methods of a run copy their reference while they prepare, before that.
    """

    tuned: Tensor

    def __init__(self, tuned: Tensor) -> None:
        super().__init__()
        self.active = False
        # Not persistent: no checkpoint and no export needs them, and they take as much room as the models.
        self.register_buffer("tuned", tuned, persistent=False)

    @property
    def learns(self) -> bool:
        """Return whether the weight is asked for to learn from, and not to measure or write it."""
        # In eval mode too: a method may take gradients there (Fisher information).
        return self.training or torch.is_grad_enabled()

    @abstractmethod
    def combined(self, base: Tensor) -> Tensor:
        """Return the weight, of the shape of `base`."""

    def forward(self, base: Tensor) -> Tensor:
        """Return the weight that the model computes with."""
        return self.combined(base) if self.active else base


@dataclass
class OverTunedModels(Method):
    """Learn how the weights of tuned models are combined with those of their base, all of which stay as they are.

    `tuned` names models that were tuned before; or a recipe puts the stage that tunes into `dense`. `batch` of a step, penalties and
    objectives are those of any training: the examples that teach the combination may be other ones than those that tuned the models.
    """

    defaults: ClassVar[dict[str, Any]] = {"steps": 200, "weight_decay": 0.0}
    stages: ClassVar[tuple[str, ...]] = ("dense",)
    most: ClassVar[int] = 1
    """The largest number of tuned models."""
    decays: ClassVar[bool] = False
    """True if weight decay, where it is set, pulls what learns to 0."""

    tuned: str = Field(
        default="", description="folder of a tuned model or of its run; commas between several, where it takes them"
    )
    dense: Any = None

    @abstractmethod
    def combine(self, weights: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> dict[str, Combination]:
        """Return the combination of each weight that may change, by name: of the base's weights, and of the tuned models' [T, *shape]."""

    def versions(self) -> tuple[str, ...]:
        """Return the fingerprints of the tuned models.

        Raises:
            ValueError: they are not there, too many, or none; or a recipe tunes one itself.
        """
        name, folders = snake(type(self).__name__), self._folders()
        if folders and self.dense is not None:
            raise ValueError(
                f"model.tuned={self.tuned!r}: this recipe tunes the model itself; leave it out, or use --method {name}"
            )
        if not folders and self.dense is None:
            raise ValueError(
                f"{name}: there is no tuned model to start from; name its folder (--set model.tuned=FOLDER), or use a recipe that tunes "
                "one first (see `holdfast methods`)"
            )
        if len(folders) > self.most:
            raise ValueError(
                f"{name}: takes {self.most} tuned model, and tuned names {len(folders)}; leave the others out"
            )
        for folder in folders:
            if not (folder / "config.json").exists():
                raise ValueError(
                    f"{name}.tuned: {folder} is no folder of a model (it has no config.json) and no run that left one"
                )
        return tuple(fingerprint(str(folder)) for folder in folders)

    def prepare(self, context: Context) -> None:
        """Read the tuned models, and put the combinations in the place of the weights, which still compute what the base does.

        Raises:
            ValueError: a tuned model has other weights than the base.
        """
        model = context.model.model
        folders = [context.inputs["dense"] / "model"] if "dense" in context.inputs else self._folders()
        weights = {name: weight.detach() for name, weight in model.named_parameters()}
        stacked = _stacked(weights, folders, context)
        self._parts = self.combine(
            weights, {name: tuned for name, tuned in stacked.items() if _differs(weights[name], tuned)}
        )
        if not self._parts:
            raise ValueError(
                f"{snake(type(self).__name__)}: {folders[0]} has the weights of the base; name a model that was tuned from it"
            )
        self._places: list[tuple[nn.Module, str, str]] = []
        modules, first = dict(model.named_modules()), {id(weight): name for name, weight in model.named_parameters()}
        # Tied weights have a name in each of their modules, and get one combination.
        for name, weight in list(model.named_parameters(remove_duplicate=False)):
            if first[id(weight)] in self._parts:
                parent, _, end = name.rpartition(".")
                self._places.append((modules[parent], end, first[id(weight)]))
        for module, end, name in self._places:
            parametrize.register_parametrization(module, end, self._parts[name], unsafe=True)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return what learns, and let the model compute with it from now on."""
        for part in self._parts.values():
            part.active = True
        yield ParameterGroup(
            list(chain.from_iterable(part.parameters() for part in self._parts.values())), weight_decay=self.decays
        )

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the combined model, as transformers reads it."""
        self.settle()
        loading.save(pretrained, folder / "model")

    def settle(self) -> None:
        """Put the combined numbers into the weights, and take the combinations out of the model."""
        final: dict[str, Tensor] = {}
        with torch.no_grad():
            for module, end, name in self._places:
                part = self._parts[name].eval()
                # The base's own parameter comes back first, so that tied weights are one again; then it gets its numbers, once.
                parametrize.remove_parametrizations(module, end, leave_parametrized=False)
                weight = getattr(module, end)
                if name not in final:
                    final[name] = part(weight).to(weight.dtype)
                    weight.copy_(final[name])

    def _folders(self) -> list[Path]:
        """Return the folder of weights of each model in `tuned`."""
        folders = []
        for argument in filter(None, (part.strip() for part in self.tuned.split(","))):
            folder = Path(resolve.resolve(argument))
            run = (folder / "model").is_dir() and not (folder / "config.json").exists()
            folders.append(folder / "model" if run else folder)
        return folders


def _stacked(weights: Mapping[str, Tensor], folders: Sequence[Path], context: Context) -> dict[str, Tensor]:
    """Return the weights of several models, [T, *shape] by name."""
    models = [context.weights_in(folder) for folder in folders]
    for folder, model in zip(folders, models, strict=True):
        wrong = [name for name, weight in weights.items() if name not in model or model[name].shape != weight.shape]
        wrong += [name for name in model if name not in weights]
        if wrong:
            raise ValueError(f"{folder}: was not tuned from this base: {wrong[0]} is not in both, or has another shape")
    return {
        name: torch.stack([model[name].detach().to(weight) for model in models]) for name, weight in weights.items()
    }


def _differs(base: Tensor, tuned: Tensor) -> bool:
    return bool((tuned != base).any())

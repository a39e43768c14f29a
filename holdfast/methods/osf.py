"""OSF: orthogonal subspace fine-tuning, by PEFT."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import peft
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from holdfast.methods._linear_targets import linear_targets
from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import loading
from holdfast.models.merging import adapting

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel

ADAPTER = "default"


@dataclass
class Osf(Method):
    """Hold each weight's largest singular directions; the others move, and only at right angles to those that are held.

    The `keep` largest singular triplets of every linear layer are what the model knows; the rest of the weight is trained as U S V. PEFT
    projects the gradient; after each step so does this method the weights, since Adam's step leaves the subspace that its gradient is
    in. What the held directions compute is then the same after training, to float noise. The export is a plain model.
    Cost: once, a singular value decomposition of each weight; then memory for about (1 - keep) * 5 of the adapted weights in float32 with
    their optimizer state, and the time of two more products of that rank a layer.

    Source: Nayak et al. 2025, "Sculpting subspaces: constrained full fine-tuning in LLMs for continual learning" (arXiv 2504.07097)
    """

    KIND: ClassVar[str] = "Osf"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200, "weight_decay": 0.0}

    keep: float = Field(default=0.5, gt=0, lt=1, description="part of each weight's singular directions that is held")
    target: str = Field(
        default="all-linear", description="names of the modules, with commas; all-linear: all but the head"
    )

    def prepare(self, context: Context) -> None:
        """Decompose the weights, in place; the model still computes what it did.

        Raises:
            ValueError: `target` names no linear layer, or one that is too small for `keep`.
        """
        chosen = linear_targets(context.model.model, self.target, nn.Linear)
        if not chosen:
            raise ValueError(
                "osf: the model has no linear layers that PEFT could decompose (GPT-2's are of another class)"
            )
        for name, module in chosen.items():
            least = min(module.weight.shape)  # pyright: ignore[reportArgumentType]
            if int(least * self.keep) < 1:
                raise ValueError(f"keep={self.keep}: holds none of the {least} directions of {name}; raise it")
        config = peft.OSFConfig(
            effective_rank=self.keep, target_modules=list(chosen), task_type=context.pretrained.architecture.task_type
        )
        with adapting():
            self._peft: Any = peft.get_peft_model(context.model.model, config)
        modules = dict(context.model.model.named_modules())
        self._layers: dict[str, Any] = {name: modules[name] for name in chosen}
        for layer in self._layers.values():
            for parameter in layer.osf_svd_params[ADAPTER].values():
                parameter.data = parameter.data.float()  # a step of the usual size is below what 16 bits can hold

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return U, S and V of the part that moves."""
        moving: list[nn.Parameter] = []
        for layer in self._layers.values():
            moving += layer.osf_svd_params[ADAPTER].values()
        # Decay would pull towards 0 what the weight is made of.
        yield ParameterGroup(moving, weight_decay=False)

    def after_step(self, model: "PrefixModel") -> None:
        """Take out of what U and V moved the part that lies along the held directions."""
        with torch.no_grad():
            for moved, start, held in self._directions():
                moved.copy_(start + orthogonal(moved - start, start, held))

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the whole model, as transformers reads it."""
        pretrained.model = self._peft.merge_and_unload()
        loading.save(pretrained, folder / "model")

    def _directions(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield U and V of each layer, where they started, and the directions that are held, or None; directions are columns."""
        for layer in self._layers.values():
            part = layer.osf_svd_params[ADAPTER]
            # PEFT keeps the held directions only where they do not follow from the others.
            left, right = (dict(held.items()).get(ADAPTER) for held in (layer._osf_U_high, layer._osf_V_high))
            yield part["U_low"], layer._osf_U_low_init[ADAPTER], left
            yield part["V_low"].T, layer._osf_V_low_init[ADAPTER].T, None if right is None else right.T


def orthogonal(change: Tensor, start: Tensor, held: Tensor | None) -> Tensor:
    """Return the part of a change `[n, r]` at right angles to the `held` directions; without them, of a whole basis, that along `start`."""
    if held is None:
        start = start.to(change.dtype)
        return start @ (start.T @ change)
    held = held.to(change.dtype)
    return change - held @ (held.T @ change)

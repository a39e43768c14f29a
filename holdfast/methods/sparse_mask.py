"""Sparse fine-tuning behind a mask that a dense training found."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._context import by_dimension
from holdfast.methods._largest_changes import largest_changes
from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import loading, sparse_difference

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class SparseMask(Method):
    """Train only the weights that moved furthest in a dense training; all others stay where they are, to the bit.

    Use it for several tasks or languages from one base: beside the model, `model/difference/` holds what changed as a small file (8 bytes
    for each weight that moved), and such differences add up. It is a MODEL as an adapter's folder is: `holdfast evaluate
    A/model/difference`, and with `--base B/model/difference` both on their base. `dense` is the stage that trained all weights from the
    same start, and `density` the share of all weights that may move: the largest changes over the whole model together. The recipe
    `lt_sft` has both phases, and costs full fine-tuning twice.

    Source: Ansell et al. 2022, "Composable sparse fine-tuning for cross-lingual transfer" (ACL), section 3
    """

    KIND: ClassVar[str] = "SparseMask"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}
    stages: ClassVar[tuple[str, ...]] = ("dense",)

    density: float = Field(
        default=0.01, gt=0, le=1, description="share of the weights that train: those that moved furthest"
    )
    dense: Any = None

    def prepare(self, context: Context) -> None:
        """Find the weights that may move, and keep a copy of the start.

        Raises:
            ValueError: no dense stage was given.
        """
        if "dense" not in context.inputs:
            raise ValueError("sparse_mask: there is no dense training to take the mask from; use --method lt_sft")
        weights = dict(context.model.model.named_parameters())
        moved = context.weights_in(context.inputs["dense"] / "model")
        size = sum(weight.numel() for weight in weights.values())
        masks = largest_changes(weights, moved, max(1, round(self.density * size)))
        # Tensors in which nothing may move are frozen altogether, and need neither gradients nor a copy of the start.
        self._masks = {name: mask for name, mask in masks.items() if bool(mask.any())}
        self._start = {name: weights[name].detach().clone() for name in self._masks}

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the tensors in which anything may move; those of one dimension without decay."""
        return by_dimension(weight for name, weight in model.model.named_parameters() if name in self._masks)

    def after_backward(self, model: "PrefixModel") -> None:
        """Set the gradients outside the mask to zero."""
        for weight, mask, _ in self._masked(model):
            if weight.grad is not None:
                weight.grad.mul_(mask)

    def after_step(self, model: "PrefixModel") -> None:
        """Put back the weights outside the mask."""
        # The optimizer's weight decay moves them without any gradient.
        with torch.no_grad():
            for weight, mask, start in self._masked(model):
                weight.copy_(torch.where(mask, weight, start))

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the whole model, as transformers reads it, and its difference to the start in a folder of it."""
        loading.save(pretrained, folder / "model")
        parts = (
            (name, weight.detach().float().cpu() - self._start[name].float().cpu())
            for name, weight in model.model.named_parameters()
            if name in self._masks
        )
        sparse_difference.write(parts, pretrained.source, folder / "model" / "difference")

    def _masked(self, model: "PrefixModel") -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield each tensor that moves in part, with its mask and its start."""
        for name, weight in model.model.named_parameters():
            if name in self._masks:
                # The model went to its device after `prepare`; moving them once more costs nothing.
                self._masks[name] = mask = self._masks[name].to(weight.device)
                self._start[name] = start = self._start[name].to(weight.device)
                yield weight, mask, start

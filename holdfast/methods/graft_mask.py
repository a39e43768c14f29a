"""Grafting with a learned mask: the few numbers of a tuned model that hold its skill, found by training."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from holdfast.methods._largest_changes import largest_changes
from holdfast.methods._tuned_models import Combination, OverTunedModels
from holdfast.weights.largest import count
from holdfast.weights.layout import locate

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel

FILE = "graft.json"


@dataclass
class GraftMask(OverTunedModels):
    """Learn which numbers of a tuned model are put on the base; all others stay the base's, to the bit.

    The graft begins as the share `density` of the largest changes (the edit `graft` has that alone) and a number per weight is trained:
    base + (B + (1 - 2 B) sigmoid(S - bias)) * change, B being the graft's start. Where a score S passes `bias` the weight changes
    sides. Measured and exported is the rounded mask, so that every weight is the base's or the tuned model's own. Use it where the
    largest changes alone lose the skill. Costs memory for a tuned model, the scores and the optimizer's two numbers for each of them;
    `graft.json` says how many weights are grafted. The learning rate says how many steps a weight needs to change sides: the optimizer
    moves a score by about that much a step, where the paper has plain SGD at a rate of 1e7.

    Source: Panigrahi et al. 2023, "Task-specific skill localization in fine-tuned language models" (ICML), section 2 and equation 3
    """

    KIND: ClassVar[str] = "GraftMask"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.2, "steps": 200, "weight_decay": 0.0}

    density: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="share of the ranked numbers that the graft starts with; the authors' code has 1e-7 to 1e-5",
    )
    blocks_only: bool = Field(default=True, description="rank and graft the tensors inside the blocks alone")
    bias: float = Field(default=10.0, gt=0, allow_inf_nan=False, description="score at which a weight changes sides")
    seed: int = Field(default=0, description="of the scores' start, which is uniform between 0 and 1")

    def combine(self, weights: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> dict[str, Combination]:
        """Return a mask for each ranked tensor."""
        ranked = {name: weight for name, weight in weights.items() if self.ranks(name)}
        after = {name: tuned[name][0] if name in tuned else weight for name, weight in ranked.items()}
        keep = count(self.density, sum(weight.numel() for weight in ranked.values()))
        patch = largest_changes(ranked, after, keep)
        random = torch.Generator().manual_seed(self.seed)
        return {name: _Mask(tuned[name], patch[name], self.bias, random) for name in tuned if name in ranked}

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the grafted model, and `graft.json`: of the ranked numbers, those that are grafted, at the start and now."""
        super().export(model, pretrained, folder)
        masks: list[Any] = list(self._parts.values())
        left = {
            "ranked": sum(weight.numel() for name, weight in pretrained.model.named_parameters() if self.ranks(name)),
            "grafted_at_start": sum(int(mask.patch.sum()) for mask in masks),
            "grafted": sum(int(mask.rounded().sum()) for mask in masks),
        }
        (folder / FILE).write_text(json.dumps(left), encoding="utf-8")

    def ranks(self, name: str) -> bool:
        """Return whether numbers of this tensor may be grafted."""
        return locate(name) is not None or not self.blocks_only


class _Mask(Combination):
    """A number for each entry of a weight that says how near it is to changing sides."""

    patch: Tensor

    def __init__(self, tuned: Tensor, patch: Tensor, bias: float, random: torch.Generator) -> None:
        super().__init__(tuned)
        self.bias = bias
        self.register_buffer("patch", patch.to(tuned.device), persistent=False)
        self.scores = nn.Parameter(torch.rand(patch.shape, generator=random).to(tuned.device))

    def rounded(self) -> Tensor:
        """Return where the tuned model's number stands."""
        # Exactly at the bias, sigmoid is a half, and nothing changes sides.
        return self.patch ^ (self.scores.detach() > self.bias)

    def combined(self, base: Tensor) -> Tensor:
        """Return the weight, by the soft mask where it learns and by the rounded one otherwise."""
        if not self.learns:
            return torch.where(self.rounded(), self.tuned[0], base)
        moved = torch.sigmoid(self.scores - self.bias)
        # `lerp` is exact at 0 and 1, which base + mask * change is not.
        return torch.lerp(base, self.tuned[0], torch.where(self.patch, 1 - moved, moved))

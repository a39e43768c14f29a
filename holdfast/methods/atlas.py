"""aTLAS: a coefficient for each tensor of each task vector, learned."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from holdfast.methods._tuned_models import Combination, OverTunedModels


@dataclass
class Atlas(OverTunedModels):
    """Learn how much of each tuned model's change goes into each tensor: base + sum of c * (tuned - base), one c per model and tensor.

    A few hundred numbers are trained, from a few examples. Several tuned models are composed for a new task. With one, and with general
    tasks beside it (`atlas+replay`), it is a learned LiNeS: how far each tensor goes back to the base. The coefficients start at `initial`;
    0 is the base, 1 (of one model) the tuned model; the authors' rate is 1e-3, over 20 passes. `partitions` splits each matrix at random
    into so many parts with a coefficient each. Costs memory for each tuned model, and a pass over all of them in every forward.

    Source: Zhang et al. 2024, "Knowledge composition using task vectors with learned anisotropic scaling" (NeurIPS), section 3
    """

    KIND: ClassVar[str] = "Atlas"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-2, "steps": 200, "weight_decay": 0.1}
    most: ClassVar[int] = 16
    decays: ClassVar[bool] = True  # to 0, which is the base

    initial: float = Field(default=0.0, allow_inf_nan=False, description="coefficient that every tensor begins with")
    partitions: int = Field(default=1, ge=1, description="random parts of each matrix, with a coefficient each")
    seed: int = Field(default=0, description="of the random parts")

    def combine(self, weights: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> dict[str, Combination]:
        """Return the coefficients of every tensor that any tuned model changed."""
        random = torch.Generator().manual_seed(self.seed)
        return {name: _Scaled(after, self.initial, self.partitions, random) for name, after in tuned.items()}

    def coefficients(self) -> dict[str, Tensor]:
        """Return the coefficients of each tensor, `[models, parts]`."""
        parts: dict[str, Any] = dict(self._parts)
        return {name: part.coefficients.detach() for name, part in parts.items()}


class _Scaled(Combination):
    """A coefficient for each tuned model and part of one tensor."""

    part: Tensor | None

    def __init__(self, tuned: Tensor, start: float, partitions: int, random: torch.Generator) -> None:
        super().__init__(tuned)
        models, matrix = len(tuned), tuned.ndim > 2
        # A vector is one part: the paper's code splits matrices alone (and drops the vectors then, which we don't).
        parts = partitions if matrix else 1
        self.coefficients = nn.Parameter(torch.full((models, parts), float(start), device=tuned.device))
        drawn = torch.randint(parts, tuned.shape[1:], generator=random) if parts > 1 else None
        self.register_buffer("part", None if drawn is None else drawn.to(tuned.device), persistent=False)

    def combined(self, base: Tensor) -> Tensor:
        """Return base + the scaled changes."""
        total = base
        for after, scales in zip(self.tuned, self.coefficients, strict=True):
            scale = scales[0] if self.part is None else scales[self.part]
            if len(self.tuned) == 1:
                return torch.lerp(base, after, scale)  # exact at 0 and at 1
            total = total + scale * (after - base)
        return total

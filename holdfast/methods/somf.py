"""SOMF: a random mask over task vectors, whose probabilities are learned."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from holdfast.methods._tuned_models import Combination, OverTunedModels
from holdfast.methods.base import Context, ParameterGroup
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel

LEAST = 1e-3  # A mask whose mean is less is not scaled up further: the change would be divided by nearly nothing.


@dataclass
class Somf(OverTunedModels):
    """Learn which part of what tuning changed can stay without losing what the base is trusted for, such as its safety.

    The base is the model whose behaviour is wanted back (the aligned one), `tuned` one or several models tuned from it. One mask over
    the weights, shared by all tuned models, is drawn anew in every step (concrete distribution, `temperature`), divided by its mean
    and multiplied with the changes; only its logits train. With `somf+dpo` the examples are pairs of a wanted and an unwanted answer,
    as in the paper; alone, they are answers to keep. `reference` is what DPO measures from. The export has the binary mask (at
    least as probable as not), divided by its mean: no draw. The authors' rate is 1e-3 to 1e-2, and their
    code's reference `random`. Costs memory for each tuned model and five numbers more for each weight.

    Source: Yi et al. 2024, "A safety realignment framework via subspace-oriented model fusion for LLMs" (arXiv 2405.09055), section 3
    """

    KIND: ClassVar[str] = "Somf"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.05, "steps": 200, "weight_decay": 0.0}
    most: ClassVar[int] = 16

    weight: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="factor of each tuned model's change; 0: 1 for one model, .3 for several",
    )
    temperature: float = Field(
        default=0.5, gt=0, allow_inf_nan=False, description="of the draws: near 0 they are 0 or 1"
    )
    logit: float = Field(default=0.0, allow_inf_nan=False, description="logit that every weight's mask begins with")
    seed: int = Field(default=0, ge=0, description="of the draws")
    reference: Literal["aligned", "tuned", "random"] = Field(
        default="aligned",
        description="what a loss beside it measures from: the base, the tuned models unmasked, or a mask that each forward draws anew",
    )

    def combine(self, weights: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> dict[str, Combination]:
        """Return a mask for every tensor that any tuned model changed."""
        count = len(next(iter(tuned.values()), ()))
        factor = self.weight or (1.0 if count == 1 else 0.3)
        return {name: _Masked(after, factor, self.logit, self.temperature) for name, after in tuned.items()}

    def prepare(self, context: Context) -> None:
        """Put the masks over the changes.

        Raises:
            ValueError: as for every method over tuned models.
        """
        super().prepare(context)
        for part in self._parts.values():
            # A copy that is taken now, in eval mode, has equal logits everywhere, so that dividing by the mean leaves the changes whole.
            part.active = self.reference != "aligned"
            part.random = self.reference == "random"  # pyright: ignore[reportArgumentType]

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the logits; from now on the masks are those of the steps, and copies that were taken keep theirs."""
        for part in self._parts.values():
            part.random = False  # pyright: ignore[reportArgumentType]
        return super().parameters(model)

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows; the masks of the step are drawn."""
        # Once a step: however often the weights are asked for, it is the same mask.
        random = context.generator(self.seed)
        for part in self._parts.values():
            part.draw(random)  # pyright: ignore[reportCallIssue]
        return rows


class _Masked(Combination):
    """A logit for each entry of a weight."""

    noise: Tensor

    def __init__(self, tuned: Tensor, factor: float, logit: float, temperature: float) -> None:
        super().__init__(tuned)
        self.factor, self.temperature, self.random = factor, temperature, False
        self.logits = nn.Parameter(torch.full(tuned.shape[1:], float(logit), device=tuned.device))
        self.register_buffer("noise", torch.zeros_like(self.logits), persistent=False)

    def draw(self, random: torch.Generator) -> None:
        """Draw the logistic noise of a concrete distribution."""
        uniform = torch.rand(self.noise.shape, generator=random).clamp_(1e-6, 1 - 1e-6)
        self.noise.copy_(uniform.logit())

    def mask(self) -> Tensor:
        """Return the mask, divided by its mean: drawn once a step where it learns, at each call where it is `random`, binary otherwise."""
        noise = torch.rand_like(self.logits).clamp_(1e-6, 1 - 1e-6).logit() if self.random else self.noise
        drawn = torch.sigmoid((self.logits + noise) / self.temperature)
        mask = drawn if self.learns or self.random else (self.logits >= 0).to(drawn.dtype)
        return mask / mask.mean().clamp_min(LEAST)

    def combined(self, base: Tensor) -> Tensor:
        """Return base + mask * the sum of the scaled changes."""
        return base + self.mask() * (self.factor * (self.tuned - base).sum(0))

"""Dynamic logits fusion: small models that were tuned steer a large one that was not, token by token.

M are the logits of the large model, S those of a small one, E_t those of the small one after fine-tuning on task t. What follows is drawn
from P(a) = softmax(M + sum_t a_t (E_t - S)). The weights a are searched anew for every token: the large model shall move as far from itself
as the small one moved from itself, in both directions of the Kullback-Leibler divergence.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.decoding.base import LogitsDecoding
from holdfast.inference.engine import CombinedEngine, Engine
from holdfast.inference.model import Model
from holdfast.inference.transformers_engine import TransformersEngine
from holdfast.models import resolve
from holdfast.models.precision import Loading

POINTS = 9  # Weights tried from 0 to the largest, 1 among them by default: the objective may have several valleys.
STEPS = 10  # Of golden section beside the best of those, which leave 1 % of two of their distances.
GOLDEN = (5**0.5 - 1) / 2
SWEEPS = 2  # Searches for the weight of each of several experts, the others held.
Objective = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LogitsFusion(LogitsDecoding):
    """Add to a model's logits what fine-tuning changed in a small one of the same vocabulary, weighted anew at each token.

    For a large model that is not to be tuned, or cannot be: its weights stay, and without this it answers as before. The authors'
    repository has no code; the weight's objective follows the paper's text, and how it is searched is ours. Costs at each token a forward
    of the small model and of each expert, and about 30 passes over the vocabulary for each expert, twice where there are several.

    Source: Fan et al. 2024, On Giant's Shoulders: Effortless Weak to Strong by Dynamic Logits Fusion, arXiv:2406.15480
    """

    needs: ClassVar[tuple[str, ...]] = ("small", "experts")
    HASH_LATER: ClassVar[dict[str, object]] = {"fixed": None}

    small: str = Field(default="", description="the small model before fine-tuning")
    experts: str = Field(default="", description="the small model after it; several, of other tasks, with commas")
    largest: float = Field(default=2.0, gt=0, description="largest weight of a small model's change")
    fixed: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="one weight for every token in the place of the search; 1 is proxy tuning (Liu et al. 2024)",
    )

    trust_remote_code: bool = Field(default=False, description="let code that comes with a hub model run")

    def around(self, model: Model) -> Callable[[Engine], Engine]:
        """Load the small models; return a function that puts them around the large one's engine.

        Raises:
            ValueError: a model is not named, cannot be loaded, or has another vocabulary.
        """
        names = [self.small, *(name.strip() for name in self.experts.split(","))]
        if not all(names):
            raise ValueError(
                "logits_fusion needs a small model and what fine-tuning made of it: --set decode.small=MODEL "
                "--set decode.experts=MODEL[,MODEL]"
            )
        engines: list[Engine] = []
        for name in names:
            inside = Path(name) / "model"  # a run's folder: the weights that it keeps
            loaded = resolve.load(
                str(inside) if inside.is_dir() else name,
                loading=Loading(device=model.pretrained.loading.device),
                trust_remote_code=self.trust_remote_code,
            )
            if loaded.tokenizer.get_vocab() != model.tokenizer.get_vocab():
                raise ValueError(
                    f"{name}: its tokenizer is not that of {model.pretrained.source}, so their logits are of different tokens; "
                    "take models of one family"
                )
            engines.append(TransformersEngine(loaded.model, None, model.batch_tokens))
        return lambda engine: FusedEngine((engine, *engines), self.largest, self.fixed)


class FusedEngine(CombinedEngine):
    """A large model, a small one, and what fine-tuning made of the small one."""

    def __init__(self, engines: tuple[Engine, ...], largest: float, fixed: float | None) -> None:
        super().__init__(engines)
        self.largest, self.fixed = largest, fixed

    def combine(self, logits: Sequence[Tensor]) -> Tensor:
        """Return the fused logits `[N, V]`, V being the large model's."""
        return fused(logits[0], logits[1], logits[2:], self.largest, self.fixed)


def fused(
    large: Tensor, small: Tensor, experts: Sequence[Tensor], largest: float, fixed: float | None = None
) -> Tensor:
    """Return log-probabilities `[N, V]` of the large model's logits `[N, V]`, steered by experts.

    Models of one vocabulary may have padded their outputs to several sizes: what only some have is -inf.

    Args:
        small: `[N, V_s]`
        experts: `[N, V_t]` each.
        largest: The bound of every weight.
        fixed: Every weight; None: each is searched.
    """
    size = min(part.shape[-1] for part in (large, small, *experts))
    # In float32: the objective squares small differences of log-probabilities.
    base, before = (part[:, :size].float().log_softmax(-1) for part in (large, small))
    after = [part[:, :size].float().log_softmax(-1) for part in experts]
    deltas = [part - before for part in after]
    moved = [(divergence(part, before), divergence(before, part)) for part in after]
    weights = [base.new_full((len(base),), fixed or 0.0) for _ in experts]
    for _ in range(0 if fixed is not None else SWEEPS if len(experts) > 1 else 1):
        for number, delta in enumerate(deltas):
            others = [w[:, None] * d for i, (w, d) in enumerate(zip(weights, deltas, strict=True)) if i != number]
            start = sum(others, base)
            weights[number] = minimum(partial(distance, base, start, delta, moved), largest, base)
    steered = [weight[:, None] * delta for weight, delta in zip(weights, deltas, strict=True)]
    logits = sum(steered, base).log_softmax(-1)
    # -inf and not 0: no token may be drawn that only one of the models has.
    return torch.nn.functional.pad(logits, (0, large.shape[-1] - size), value=-torch.inf)


def distance(
    base: Tensor, start: Tensor, delta: Tensor, moved: Sequence[tuple[Tensor, Tensor]], weight: Tensor
) -> Tensor:
    """Return the distance of softmax(start + weight x delta) from having moved as each expert did: the sum of squared differences `[N]`."""
    steered = (start + weight[:, None] * delta).log_softmax(-1)
    forth, back = divergence(steered, base), divergence(base, steered)
    return torch.stack([(forth - to).square() + (back - away).square() for to, away in moved]).sum(0)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) in nats, `[N]`, from log-probabilities `[N, V]`."""
    return (p.exp() * (p - q)).sum(-1)


def minimum(objective: Objective, largest: float, like: Tensor) -> Tensor:
    """Return the weight of each row in [0, largest] `[N]` at which its objective is least; of equal ones the smallest that was tried.

    So an expert that changed nothing, where every weight is right, gets 0.
    """
    grid = torch.linspace(0, largest, POINTS, device=like.device)
    values = torch.stack([objective(point.expand(len(like))) for point in grid])
    index = values.argmin(0)
    best, least = grid[index], values.gather(0, index[None])[0]
    # Between the neighbours of the best point; at an end of the grid there is only one.
    low, high = grid[(index - 1).clamp(min=0)], grid[(index + 1).clamp(max=POINTS - 1)]
    for _ in range(STEPS):
        # Both inner points anew, though one was known before: which one differs from row to row.
        width = GOLDEN * (high - low)
        left, right = high - width, low + width
        at_left, at_right = objective(left), objective(right)
        # The best so far is kept: where the objective is flat, or has two valleys, the last interval may be a worse one.
        for point, value in ((left, at_left), (right, at_right)):
            best, least = torch.where(value < least, point, best), torch.minimum(value, least)
        low, high = torch.where(at_left <= at_right, low, left), torch.where(at_left <= at_right, right, high)
    return best

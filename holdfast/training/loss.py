"""The loss of a step: at label positions, in the place of it, and beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.methods.base import Method
from holdfast.methods.combinations import loss_owner
from holdfast.prefix.head import LabelLogits
from holdfast.prefix.model import PrefixModel
from holdfast.prefix.packing import label_factors
from holdfast.row import Row, total_weight


def weighed(output: LabelLogits, rows: Sequence[Row], methods: Sequence[Method]) -> LabelLogits:
    """Return predictions whose weights are multiplied by the factors of the rows and of the methods, for the token loss alone."""
    factors = [label_factors(rows), *(method.token_factors(output, rows) for method in methods)]
    for factor in factors:
        if factor is not None:
            output = replace(output, weights=output.weights * factor.to(output.weights))
    return output


def token_loss(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the weighted sum of cross entropies in nats: `[N, V]` logits, `[N]` labels, `[N]` weights -> a scalar, in float32.

    With `smoothing` s the target is (1 - s) on the label and s / V everywhere (Szegedy et al. 2016).
    """
    # A sum, not a mean: the mean of a step is over all its tokens, however they were split into forwards and processes.
    losses = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
    return torch.dot(losses, weights.to(losses.dtype))


@dataclass(frozen=True)
class Divisors:
    """The sums over a whole step that its losses are divided by, however it is split into forwards and processes.

    `units` divides the loss (label weights, or what the method that replaces the loss counts), `tokens`, the label weights, shares out
    penalties. Rows that a method added for its own loss are in neither: it divides by itself.
    """

    units: float
    tokens: float

    @staticmethod
    def of(rows: Sequence[Row], methods: Sequence[Method]) -> "Divisors":
        """Return those of a step's rows."""
        rows = [row for row in rows if row.added_by is None]
        owner, tokens = loss_owner(methods), total_weight(rows)
        return Divisors(tokens if owner is None else owner.units(rows), tokens)


@dataclass(frozen=True)
class StepLoss:
    """The loss of a step's rows: of the tasks' rows the token loss, or that of the method that replaces it, with the methods' penalties;
    of rows that a method added for itself, that method's own. With `low` it is computed in bfloat16.
    """

    model: PrefixModel
    methods: Sequence[Method]
    smoothing: float = 0.0
    low: bool = False

    def __call__(self, model: nn.Module, rows: Sequence[Row], divisors: Divisors) -> Tensor:
        """Return these rows' share of a step's loss, by the model as it is or as Accelerate wraps it."""
        losses: list[Tensor] = []
        # Also for the loss: it may have the LM head still to run.
        with torch.autocast(self.model.model.device.type, torch.bfloat16, enabled=self.low):
            output = model(rows)
            for owner in dict.fromkeys(row.added_by for row in rows):
                mine = [row for row in rows if row.added_by == owner]
                seen = output.of_rows([row.added_by == owner for row in rows])
                if owner is None:
                    losses.append(self._task_loss(mine, seen, divisors))
                else:
                    losses.append(self.methods[owner].own_loss(self.model, mine, seen))
        return sum(losses[1:], losses[0])

    def _task_loss(self, rows: Sequence[Row], output: LabelLogits, divisors: Divisors) -> Tensor:
        """Return the loss of rows that no method has for itself, and the penalties on them."""
        if (owner := loss_owner(self.methods)) is None:
            smoothed = partial(token_loss, smoothing=self.smoothing)
            loss = weighed(output, rows, self.methods).total(smoothed)
        else:
            loss = owner.objective(output, rows)
        loss = loss / divisors.units
        for method in self.methods:
            extra = method.penalty(self.model, rows, output)
            if extra is not None:
                # By this forward's share of the step's tokens: however often a step is split, a penalty counts once.
                loss = loss + extra * (float(output.weights.sum()) / divisors.tokens)
        return loss

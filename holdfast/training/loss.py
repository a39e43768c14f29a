"""The loss at label positions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.methods._combinations import loss_owner
from holdfast.methods.base import Method
from holdfast.prefix.head import LabelLogits
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

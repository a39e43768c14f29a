"""Model Stock: how far to go from the base to the mean of several tuned models, by the angle between their changes."""

from collections.abc import Sequence
from functools import reduce
from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import between
from holdfast.edits.base import Apply, Slices, Streamed
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class ModelStock(Streamed):
    """Go from the base towards the mean of several tuned models, in each tensor as far as their changes agree.

    For models tuned for one task, such as with other seeds: what they have in common is the task, and what differs is chance. With N
    models and c the mean cosine of two of their changes, the share of the way is N c / (1 + (N - 1) c): all of it where the changes are
    equal, nothing where they are at right angles, or beyond. A model that did not move in a tensor takes no part there. It costs a pass
    over the files more than copying, and for each model memory of five slices of a tensor.

    Source: Jang, Yun and Han 2024, "Model stock: all we need is just a few fine-tuned models" (ECCV)
    """

    EXAMPLES_OFF: ClassVar = ({},)  # Of models that are equal.
    EXAMPLES_BASE: ClassVar = ({"scale": 0.0},)
    takes_several: ClassVar[bool] = True
    fewest: ClassVar[int] = 2

    scale: float = Field(default=1.0, allow_inf_nan=False, description="factor of the merged change")

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        products = torch.zeros(slices.models, slices.models, dtype=torch.float64)
        for base, tuned in slices.every(1):
            deltas = torch.stack([(after - base).flatten().double() for after in tuned])
            # An infinite number has no share in an angle, and would leave none of the others any.
            deltas = deltas.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            products += deltas @ deltas.T
        moved = products.diagonal().nonzero().flatten().tolist()
        weight = self.scale * share_of_the_way(products[moved][:, moved])

        def apply(base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
            # Not `Tensor.mean`, which adds to a zero: the sign of negative zeros would be lost.
            mean = reduce(torch.add, [tuned[i] for i in moved]) / len(moved) if moved else base
            return between(base, mean, weight)

        return apply


def share_of_the_way(products: Tensor) -> float:
    """Return how far to go to the mean, of the inner products [N, N] of the models' changes; all of the way with one model."""
    n, norms = len(products), products.diagonal().sqrt()
    if n < 2:
        return 1.0
    cosines = products / torch.outer(norms, norms)
    cosine = max(0.0, float(cosines.sum() - cosines.trace()) / (n * (n - 1)))
    # Rounded: sums over other slices differ in the last bit, and the result must not.
    return round(n * cosine / (1 + (n - 1) * cosine), 9)

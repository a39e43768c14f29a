"""Model Breadcrumbs."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import add_selected
from holdfast.edits.base import Apply, Slices, Streamed
from holdfast.weights.largest import Bits, count, magnitudes, select_top_of_rows
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class Breadcrumbs(Streamed):
    """Reset both tails of each delta to the base (the largest and the smallest changes), and add what is left of several.

    Of n values, int(outliers * n) are dropped at the top, then the int(density * n) largest that remain are kept (at
    least one, so that no short tensor loses all it learned) and scaled. Where `outliers` comes to less than one value,
    nothing is dropped at the top. `scope` says whether the n values are a row (as in the paper's code) or a whole
    tensor; single numbers are scaled only. Of several tuned models each is masked by itself, and `scale` need not be
    changed when one is added.

    Source: Davari and Belilovsky 2024, "Model Breadcrumbs: scaling multi-task model merging with sparse masks" (ECCV)
    """

    EXAMPLES_OFF: ClassVar = (
        {"density": 1.0, "outliers": 0.0, "scope": "row"},
        {"density": 1.0, "outliers": 0.0, "scope": "tensor"},
    )
    EXAMPLES_BASE: ClassVar = ({"density": 0.0}, {"scale": 0.0})
    takes_several: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    density: float = Field(default=0.2, ge=0, le=1, description="share of the changes that is kept")
    outliers: float = Field(default=0.1, ge=0, le=1, description="share of the changes, the largest, that is reset")
    scale: float = Field(
        default=1.0, allow_inf_nan=False, description="factor of what is kept; the paper's example has 0.4 for several"
    )
    scope: Literal["row", "tensor"] = Field(default="row", description="changes that are ranked with one another")

    def __post_init__(self) -> None:
        # With room for rounding: shares that make 1 in decimals may be a little more in floating point.
        if self.density + self.outliers > 1 + 1e-9:
            raise ValueError(
                f"density {self.density:g} and outliers {self.outliers:g} are more than 1 together; lower one"
            )

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        bands = [self.of_tensor(slices, m) if self.scope == "tensor" else self.of_rows for m in range(slices.models)]

        def apply(base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
            # A single number is the largest and the smallest change at once, so no tail can be told from it.
            if slices.size == 1:
                masks = [np.full(tuple(base.shape), self.density > 0)] * len(tuned)
            else:
                masks = []
                for band, after in zip(bands, tuned, strict=True):
                    outliers, reached = band(magnitudes(base, after))
                    masks.append(reached ^ outliers)  # The outliers are among those that are reached.
            return add_selected(base, tuned, masks, self.scale)

        return apply

    def ends(self, size: int) -> tuple[int, int]:
        """Return the number of outliers among `size` numbers, and the number of those that are outliers or kept."""
        top, wanted = count(self.outliers, size), max(1, count(self.density, size)) if self.density > 0 else 0
        return top, min(top + wanted, size)

    def of_rows(self, bits: Bits) -> list[NDArray[np.bool_]]:
        """Return masks like the magnitudes `[..., N]`: the outliers, and the numbers that are outliers or kept."""
        rows = bits.reshape(-1, bits.shape[-1])
        return [mask.reshape(bits.shape) for mask in select_top_of_rows(rows, self.ends(rows.shape[1]))]

    def of_tensor(self, slices: Slices, model: int) -> Callable[[Bits], list[NDArray[np.bool_]]]:
        """Return the same for slices, where ranks are those of the whole tensor."""
        selectors = [slices.select_top(keep, model) for keep in self.ends(slices.size)]
        return lambda bits: [select(bits) for select in selectors]

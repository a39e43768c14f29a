"""Model Breadcrumbs."""

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import STRICT, Apply, Slices, Streamed, choose, count
from holdfast.weights.largest import Bits, cut, magnitudes, of_rows
from holdfast.weights.layout import Place


@dataclass(frozen=True, config=STRICT)
class Breadcrumbs(Streamed):
    """Both tails of the delta go back to the base: the `outliers` largest changes, and all but `density` of the others.

    Of n values, int(outliers * n) are dropped at the top, then the int(density * n) largest that remain are kept (at
    least one, so that no short tensor loses all it learned) and scaled. Where `outliers` comes to less than one value,
    nothing is dropped at the top. `scope` says whether the n values are a row (as in the paper's code) or a whole
    tensor; single numbers are scaled only.

    Source: Davari and Belilovsky 2024, "Model Breadcrumbs: scaling multi-task model merging with sparse masks" (ECCV)
    """

    takes_16_bits: ClassVar[bool] = True

    density: float = Field(default=0.2, ge=0, le=1)
    outliers: float = Field(default=0.1, ge=0, le=1)
    scale: float = Field(default=1.0, allow_inf_nan=False)
    scope: Literal["row", "tensor"] = "row"

    def __post_init__(self) -> None:
        if self.density + self.outliers > 1 + 1e-9:
            raise ValueError(
                f"density {self.density:g} and outliers {self.outliers:g} are more than 1 together; lower one"
            )

    def over(self, slices: Slices, place: Place) -> Apply:
        bands = self.of_tensor(slices) if self.scope == "tensor" else self.of_rows

        def apply(base: Tensor, tuned: Tensor) -> Tensor:
            edited = torch.lerp(base, tuned, self.scale)
            if slices.size == 1:
                return edited if self.density > 0 else base
            dropped, kept = bands(magnitudes(base, tuned))
            return choose(kept & ~dropped, edited, base)

        return apply

    def ends(self, size: int) -> tuple[int, int]:
        """How many of `size` numbers are outliers, and how many are outliers or kept."""
        top, wanted = count(self.outliers, size), max(1, count(self.density, size)) if self.density > 0 else 0
        return top, min(top + wanted, size)

    def of_rows(self, bits: Bits) -> list[NDArray[np.bool_]]:
        """The outliers, and what is outlier or kept, of magnitudes `[..., N]`: bool like them."""
        rows = bits.reshape(-1, bits.shape[-1])
        return [mask.reshape(bits.shape) for mask in of_rows(rows, self.ends(rows.shape[1]))]

    def of_tensor(self, slices: Slices) -> Callable[[Bits], list[NDArray[np.bool_]]]:
        """The same of a slice, where ranks are those of the whole tensor."""
        cuts = [cut(slices.magnitudes, slices.size, keep) for keep in self.ends(slices.size)]
        return lambda bits: [largest(bits) for largest in cuts]

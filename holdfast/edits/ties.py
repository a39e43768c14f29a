"""TIES: trim, elect signs, merge."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import add_delta, add_selected, selected_delta
from holdfast.edits.base import Apply, Slices, Streamed
from holdfast.weights.largest import count, magnitudes
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class Ties(Streamed):
    """Keep each model's largest changes, let their sum elect a sign for each number, and add the mean of those that agree.

    For several models tuned for tasks that pull the same numbers in different directions; a single one is trimmed as by `magnitude`.
    Trimmed is by tensor, as in mergekit and PEFT; the authors' code ranks over the whole model. A tie of signs goes to plus. Each model
    costs two passes more over its files and the base's, and memory two slices of a tensor more.

    Source: Yadav et al. 2023, "TIES-Merging: resolving interference when merging models" (NeurIPS), algorithm 1
    """

    EXAMPLES_OFF: ClassVar = ({"density": 1.0},)
    EXAMPLES_BASE: ClassVar = ({"density": 0.0}, {"scale": 0.0})
    takes_several: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    density: float = Field(default=0.2, ge=0, le=1, description="share of each tensor's changes that is kept")
    scale: float = Field(default=1.0, allow_inf_nan=False, description="factor of the merged change")

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        largest = [slices.select_top(count(self.density, slices.size), model) for model in range(slices.models)]

        def apply(base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
            masks = [select(magnitudes(base, after)) for select, after in zip(largest, tuned, strict=True)]
            if len(tuned) == 1:
                return add_selected(base, tuned, masks, self.scale)
            deltas = [selected_delta(base, after, mask) for after, mask in zip(tuned, masks, strict=True)]
            plus = sum(deltas[1:], start=deltas[0]) >= 0
            total, voters = torch.zeros_like(base), torch.zeros_like(base)
            for delta in deltas:
                agrees = torch.where(plus, delta > 0, delta < 0)
                voters += agrees
                total += delta.masked_fill_(~agrees, 0)
            return add_delta(base, total / voters.clamp_(min=1), self.scale)

        return apply

"""TIES: trim, elect signs, merge."""

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import add_delta, add_selected, selected_delta
from holdfast.edits._model_ranking import LargestChanges, Model, Select, largest_changes
from holdfast.edits.base import Apply, Edit, Slices, Streamed
from holdfast.weights.largest import count, magnitudes
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class Ties(Streamed):
    """Keep each model's largest changes, let their sum elect a sign for each number, and add the mean of those that agree.

    For several models tuned for tasks that pull the same numbers in different directions; a single one is trimmed as by `magnitude`.
    `scope` says whether a change is ranked in its tensor, as in mergekit and PEFT, or in its whole model, as in the authors' code, where
    tensors that moved little keep nothing. A tie of signs goes to plus. Each model costs two passes more over its files and the base's
    (three by `model`), and memory two slices of a tensor more.

    Source: Yadav et al. 2023, "TIES-Merging: resolving interference when merging models" (NeurIPS), algorithm 1
    """

    EXAMPLES_OFF: ClassVar = ({"density": 1.0}, {"density": 1.0, "scope": "model"})
    EXAMPLES_BASE: ClassVar = ({"density": 0.0}, {"density": 0.0, "scope": "model"}, {"scale": 0.0})
    takes_several: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    density: float = Field(default=0.2, ge=0, le=1, description="share of the changes that is kept")
    scale: float = Field(default=1.0, allow_inf_nan=False, description="factor of the merged change")
    scope: Literal["tensor", "model"] = Field(
        default="tensor", description="changes that are ranked with one another: of a tensor, or of a whole model"
    )

    def prepare(self, model: Model) -> Edit:
        """Rank the changes of each model, where they are ranked over all tensors."""
        if self.scope == "tensor" or not model:
            return self
        return _Trimmed(
            self, tuple(largest_changes(model, self.density, number) for number in range(model[0][0].models))
        )

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        if self.scope == "model":  # A tensor by itself is a model of one tensor.
            return self.prepare([(slices, location)]).over(slices, location)
        keep = count(self.density, slices.size)
        return partial(self.merged, [slices.select_top(keep, model) for model in range(slices.models)])

    def merged(self, largest: Sequence[Select], base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
        """Return a slice of the merged model, of the changes that the selectors, one of each tuned model, keep."""
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


@plain_dataclass(frozen=True)
class _Trimmed(Streamed):
    """TIES by model, whose rankings are known."""

    ties: Ties
    kept: tuple[LargestChanges, ...]
    takes_several: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        return partial(self.ties.merged, [kept.selector(location) for kept in self.kept])

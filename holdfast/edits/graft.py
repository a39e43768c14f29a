"""Grafting: the few numbers that hold a skill, placed on the base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import add_selected
from holdfast.edits._model_ranking import LargestChanges, Model, Select, largest_changes
from holdfast.edits.base import Apply, Edit, Slices, Streamed
from holdfast.weights.largest import magnitudes
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class Graft(Streamed):
    """Put the largest changes of the whole model (a share of `density`) on the base, which keeps all its other numbers.

    One ranking over all tensors of the blocks; embeddings, head and final norm go back to the base. Of several tuned models the patches
    are added, and `edit.json` says how much of each model's patch lies in another's: where two tasks want the same numbers, they
    interfere. Costs two to three passes over the files more than copying.

    Source: Panigrahi et al. 2023, "Task-specific skill localization in fine-tuned language models" (ICML), section 2
    """

    EXAMPLES_OFF: ClassVar = ({"density": 1.0, "blocks_only": False},)
    EXAMPLES_BASE: ClassVar = ({"density": 0.0}, {"scale": 0.0})
    needs_blocks: ClassVar[bool] = True
    takes_several: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    density: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="share of the ranked numbers that are grafted; the authors' code has 1e-7 to 1e-5",
    )
    blocks_only: bool = Field(default=True, description="rank and graft the tensors inside the blocks alone")
    scale: float = Field(default=1.0, allow_inf_nan=False, description="factor of the changes that are grafted")

    def prepare(self, model: Model) -> Edit:
        """Rank all changes of each model, and count what the patches share."""
        ranked = [(slices, location) for slices, location in model if self.ranks(location)]
        patches = [largest_changes(ranked, self.density, m) for m in range(model[0][0].models)] if ranked else []
        return _Grafted(self, tuple(patches), _overlap(ranked, patches) if len(patches) > 1 else {})

    def ranks(self, location: TensorLocation) -> bool:
        """Return whether numbers of this tensor may be grafted."""
        return location.block is not None or not self.blocks_only

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        # A tensor by itself is a model of one tensor.
        return self.prepare([(slices, location)]).over(slices, location)

    def apply(self, selectors: Sequence[Select], base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
        """Return a slice with the changes that the selectors, one of each tuned model, choose."""
        masks = [select(magnitudes(base, after)) for select, after in zip(selectors, tuned, strict=True)]
        return add_selected(base, tuned, masks, self.scale)


@plain_dataclass(frozen=True)
class _Grafted(Streamed):
    """A graft whose patches are known."""

    graft: Graft
    patches: tuple[LargestChanges, ...]
    shared: Mapping[str, Any]
    takes_several: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.shared

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        if not self.graft.ranks(location):
            return lambda base, tuned: base.clone()
        return partial(self.graft.apply, [patch.selector(location) for patch in self.patches])


def _overlap(ranked: Model, patches: Sequence[LargestChanges]) -> dict[str, Any]:
    """Return the size of each model's patch, and `overlap[i][j]`: the share of model i's patch that lies in model j's."""
    both = np.zeros((len(patches), len(patches)), np.int64)
    for slices, location in ranked:
        selectors = [patch.selector(location) for patch in patches]
        for base, tuned in slices.every(1):
            masks = [s(magnitudes(base, t)).reshape(-1) for s, t in zip(selectors, tuned, strict=True)]
            both += [[np.count_nonzero(a & b) for b in masks] for a in masks]
    sizes = both.diagonal()
    return {"grafted": sizes.tolist(), "overlap": np.round(both / np.maximum(sizes, 1)[:, None], 4).tolist()}

"""Half reset: half fine-tuning, after the fact."""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import STRICT, Edit
from holdfast.weights.layout import Place, half


@dataclass(frozen=True, config=STRICT)
class HalfReset(Edit):
    """A random half of each block's matrices and norms goes back to the base, whole tensors at a time.

    Half of an attention's projections, half of a feed-forward's, half of the norms; embeddings and head stay tuned.

    Source: Hui et al. 2024, "HFT: half fine-tuning for large language models" (arXiv 2404.18466), the pilot experiment
    """

    needs_blocks: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    seed: int = 0

    @property
    def sliceable(self) -> bool:
        return True

    def __call__(self, base: Tensor, tuned: Tensor, place: Place) -> Tensor:
        return base if place.name in half(place.layout, self.seed) else tuned

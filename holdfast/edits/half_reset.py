"""Half reset: half fine-tuning, after the fact."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import Edit, only
from holdfast.weights.layout import TensorLocation, half_of_each_block


@dataclass(frozen=True)
class HalfReset(Edit):
    """Reset a random half of each block's matrices and norms to the base, whole tensors at a time.

    Half of an attention's projections, half of a feed-forward's, half of the norms; embeddings and head stay tuned.

    Source: Hui et al. 2024, "HFT: half fine-tuning for large language models" (arXiv 2404.18466), the pilot experiment
    """

    EXAMPLES_OFF: ClassVar = ()  # Half of the tensors go back whatever the seed,
    EXAMPLES_BASE: ClassVar = ()  # and half never do.
    needs_blocks: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    seed: int = Field(default=0, description="seed of the choice")

    @property
    def sliceable(self) -> bool:
        return True

    def __call__(self, base: Tensor, tuned: Sequence[Tensor], location: TensorLocation) -> Tensor:
        kept = only(tuned)
        # Drawn from the names of all tensors and cached: the halves of a block must fit together, whichever tensor comes first.
        return base if location.name in half_of_each_block(location.layout, self.seed) else kept

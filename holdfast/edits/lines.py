"""LiNeS: layer-increasing scaling."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import between
from holdfast.edits.base import Edit, only
from holdfast.weights.layout import FINAL_NORMS, TensorLocation

HEADS = ("lm_head", "embed_out", "output")  # as transformers names them


@dataclass(frozen=True)
class Lines(Edit):
    """Scale the delta by a factor that grows with depth: `alpha` in the first block, `alpha + beta` in the last.

    Shallow layers hold what tasks share, so they go back further. By default beta is 1 - alpha, which leaves the last
    block as tuned. What lies outside the blocks (embeddings, final norm, head) is scaled by `alpha`, as in the paper's
    code, whose vision model has its heads elsewhere; `post=last` scales what stands behind the last block, its norm and a head that is
    not the word embeddings, as that block. A model with an encoder and a decoder counts in each of the two; a single block counts as the
    last. It costs one pass over the weights.

    Source: Wang et al. 2025, "LiNeS: post-training layer scaling prevents forgetting and enhances model merging" (ICLR)
    """

    EXAMPLES_OFF: ClassVar = ({"alpha": 1.0},)
    EXAMPLES_BASE: ClassVar = ({"alpha": 0.0, "beta": 0.0},)
    needs_blocks: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True
    HASH_LATER: ClassVar[dict[str, object]] = {"post": "alpha"}

    alpha: float = Field(
        default=0.5, ge=0, allow_inf_nan=False, description="factor of the first block, and outside the blocks"
    )
    beta: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="what the last block's factor adds to alpha; by default 1 - alpha",
    )

    post: Literal["alpha", "last"] = Field(
        default="alpha", description="factor of final norm and untied head: alpha, or that of the last block"
    )

    @property
    def sliceable(self) -> bool:
        return True

    def factor(self, location: TensorLocation) -> float:
        """Return alpha + beta * block / (blocks - 1)."""
        if location.block is None and (self.post == "alpha" or not _after_blocks(location)):
            return self.alpha
        # A single block counts as the last: 0 / 0 has no value, and as the first it would be reset with what tasks share.
        depth = location.block / (location.blocks - 1) if location.block is not None and location.blocks > 1 else 1.0
        return self.alpha + depth * (1 - self.alpha if self.beta is None else self.beta)

    def __call__(self, base: Tensor, tuned: Sequence[Tensor], location: TensorLocation) -> Tensor:
        return between(base, only(tuned), self.factor(location))


def _after_blocks(location: TensorLocation) -> bool:
    """Return whether a tensor outside the blocks stands behind them: a stack's final norm, or a head with embeddings beside it."""
    module = location.name.rpartition(".")[0].rpartition(".")[2]
    shapes = location.layout.shapes
    # Of weights that are tied the first name stands for both, and may be the head's: no other tensor has its shape then.
    untied = (
        shape for name, shape in shapes.items() if name != location.name and location.layout.locate(name).block is None
    )
    return module in FINAL_NORMS or (module in HEADS and shapes[location.name] in untied)

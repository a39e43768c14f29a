"""HFT: half fine-tuning."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods._context import by_dimension
from holdfast.methods.base import ParameterGroup
from holdfast.methods.full import Full
from holdfast.weights.layout import Layout, half_of_each_block

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel


@dataclass
class HalfFineTuning(Full):
    """A random half of each block's matrices and norms stays frozen, the rest of the model moves.

    Half of an attention's projections, half of a feed-forward's (one or two of three), half of the norms; a bias goes
    with its weight, and projections that are fused in one tensor count as one. Embeddings and head move unless
    `embeddings` is off. The draw is by `seed` and holds for a stage (by stage or by epoch: accounts of the paper differ); the next task or
    round of a recipe (`full_sequential+half_fine_tuning`) takes another half. The paper's gains are on models of 7 and 13 billion
    weights. It costs what full fine-tuning costs, less the optimizer's state of half of the blocks.

    Source: Hui et al. 2024, "HFT: half fine-tuning for large language models" (arXiv 2404.18466)
    """

    KIND: ClassVar[str] = "HalfFineTuning"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}

    seed: int = Field(default=0, description="seed of the draw of the half that trains")
    embeddings: bool = Field(default=True, description="the embeddings may train too")

    def in_sequence(self, before: int) -> "HalfFineTuning":
        """Return the method with another draw in each stage."""
        return replace(self, seed=self.seed + 1009 * before)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the weights that move; those of one dimension without decay.

        Raises:
            ValueError: no parameter's name shows a numbered block.
        """
        weights = dict(model.model.named_parameters())
        layout = Layout({name: tuple(weight.shape) for name, weight in weights.items()})
        if not layout.stacks:
            # Refused: with no block to halve, everything would move, and nothing would say that this was no half fine-tuning.
            raise ValueError(
                "half_fine_tuning: no parameter's name shows a numbered block (`.layers.0.`) to halve; use full"
            )
        frozen = half_of_each_block(layout, self.seed)
        return by_dimension(
            weight
            for name, weight in weights.items()
            # Outside of all blocks are the embeddings, the head and the norm before it.
            if name not in frozen and (self.embeddings or layout.locate(name).block is not None)
        )

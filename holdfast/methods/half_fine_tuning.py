"""HFT: half fine-tuning."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods._context import by_dimension
from holdfast.methods.base import Context, ParameterGroup
from holdfast.methods.full import Full
from holdfast.row import Row
from holdfast.weights.layout import Layout, half_of_each_block

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel


@dataclass
class HalfFineTuning(Full):
    """Freeze a random half of each block's matrices and norms, and train the rest of the model.

    Half of an attention's projections, half of a feed-forward's (one or two of three), half of the norms; a bias goes
    with its weight, and projections that are fused in one tensor count as one. Embeddings and head move unless
    `embeddings` is off. The draw is by `seed` and holds for a stage; the next task or round of a recipe
    (`full_sequential+half_fine_tuning`) takes another half. Accounts of the paper differ: `reselect=epoch` draws anew for each pass over
    the rows. The paper's gains are on models of 7 and 13 billion weights. It costs what full fine-tuning costs, less the optimizer's state
    of half of the blocks; by epoch, nothing less.

    Source: Hui et al. 2024, "HFT: half fine-tuning for large language models" (arXiv 2404.18466)
    """

    KIND: ClassVar[str] = "HalfFineTuning"
    HASH_LATER: ClassVar[dict[str, object]] = {"reselect": "stage"}
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}

    seed: int = Field(default=0, description="seed of the draw of the half that trains")
    embeddings: bool = Field(default=True, description="the embeddings may train too")
    reselect: Literal["stage", "epoch"] = Field(
        default="stage", description="another half for each stage, or for each pass over the rows"
    )

    def in_sequence(self, before: int) -> "HalfFineTuning":
        """Return the method with another draw in each stage."""
        return replace(self, seed=self.seed + 1009 * before)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the weights that move, by epoch all that ever do; those of one dimension without decay.

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
        self._layout = layout
        frozen = half_of_each_block(layout, self.seed) if self.reselect == "stage" else frozenset()
        return by_dimension(
            weight
            for name, weight in weights.items()
            # Outside of all blocks are the embeddings, the head and the norm before it.
            if name not in frozen and (self.embeddings or layout.locate(name).block is not None)
        )

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows as they are, and keep the number of the pass that they belong to."""
        self._epoch = context.epoch
        return rows

    def after_backward(self, model: "PrefixModel") -> None:
        """Take the gradients of this pass's half away, where each pass has a half of its own."""
        if self.reselect == "epoch":
            # Another prime than that of stages: the second pass of one is not the first of the next.
            frozen = half_of_each_block(self._layout, self.seed + 7919 * self._epoch)
            for name, weight in model.model.named_parameters():
                if name in frozen:
                    # None, and not zeros: the optimizer passes over the weight, and neither decay nor momentum moves it.
                    weight.grad = None

"""Freeze the embeddings and the lowest blocks."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from holdfast.methods._context import by_dimension
from holdfast.methods.base import ParameterGroup
from holdfast.methods.full import Full
from holdfast.weights.layout import Layout, locate

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel

SHARE = 0.2  # of the blocks: the paper freezes 6 of 32


@dataclass
class FreezeBottom(Full):
    """Freeze the embeddings and the lowest `blocks` blocks, and train all that stands above them.

    Use it as the plainest baseline against forgetting that is no forgetting: early steps turn the lowest layers away from an old task
    without anything being lost. A head that shares the embeddings' tensor is frozen with them. Of an encoder and a decoder, each keeps its
    lowest blocks. It takes less time and memory than full fine-tuning: gradients end above what is frozen, and so do optimizer states; not
    so the time where a norm stands between embeddings and blocks (BLOOM), which trains. The paper's rate is a tenth of the default.

    Source: Zheng et al. 2025, "Spurious forgetting in continual learning of language models" (ICLR), section 5
    """

    KIND: ClassVar[str] = "FreezeBottom"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}

    blocks: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        default="auto", description="frozen blocks, counted from the input; auto is a fifth of them, at least one"
    )
    embeddings: bool = Field(default=True, description="freeze word and position embeddings too")

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the weights that move; those of one dimension without decay.

        Raises:
            ValueError: no parameter's name shows a numbered block, or the model has no block above the frozen ones.
        """
        weights = dict(model.model.named_parameters())
        stacks = Layout({name: tuple(weight.shape) for name, weight in weights.items()}).stacks
        if not stacks:
            raise ValueError(
                "freeze_bottom: no parameter's name shows a numbered block (`.layers.0.`) to freeze; use full"
            )
        frozen = {
            stack: max(1, round(SHARE * count)) if self.blocks == "auto" else self.blocks
            for stack, count in stacks.items()
        }
        if high := [stack for stack, count in stacks.items() if frozen[stack] >= count]:
            raise ValueError(
                f"freeze_bottom.blocks={frozen[high[0]]}: {high[0]} has {stacks[high[0]]} blocks, of which one at least must move; "
                f"give {stacks[high[0]] - 1} or fewer"
            )
        # By identity and not by name: the head may be the same tensor under another name, and position embeddings have many names.
        words = (
            [module for module in model.model.modules() if isinstance(module, nn.Embedding)] if self.embeddings else []
        )
        kept = {id(module.weight) for module in words}
        moving: list[nn.Parameter] = []
        for name, weight in weights.items():
            inside = locate(name)
            below = inside is not None and inside[1] < frozen[inside[0]]
            if not below and (inside is not None or id(weight) not in kept):
                moving.append(weight)
        return by_dimension(moving)

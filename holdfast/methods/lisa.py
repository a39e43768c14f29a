"""LISA: a few blocks train at a time."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods.base import Context, ParameterGroup
from holdfast.methods.full import Full
from holdfast.row import Row
from holdfast.weights.layout import Layout, locate

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel


@dataclass
class Lisa(Full):
    """Train a random few of the blocks at a time, and others after every `interval` steps; embeddings, head and last norm train always.

    Each block moves in a part of the steps alone. Use it in the place of a smaller rate: on the lab it keeps more than full fine-tuning at
    the same rate, and about as much as at a third of it. Of an encoder and a decoder, each has so many blocks. It costs what full
    fine-tuning costs: published versions save memory by giving up a block's moments when it is frozen, and here they are kept for the
    next time that it is drawn.

    Source: Pan et al. 2024, "LISA: layerwise importance sampling for memory-efficient large language model fine-tuning" (NeurIPS),
    algorithm 1 (two blocks; 3 to 50 steps)
    """

    KIND: ClassVar[str] = "Lisa"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}

    blocks: int = Field(default=2, ge=1, description="blocks that train at a time; all of them is full fine-tuning")
    interval: int = Field(default=20, ge=1, description="steps after which other blocks are drawn")
    seed: int = Field(default=0, description="seed of the draws")

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return all weights, because each block may be drawn at some step.

        Raises:
            ValueError: no parameter's name shows a numbered block.
        """
        layout = Layout({name: tuple(weight.shape) for name, weight in model.model.named_parameters()})
        if not layout.stacks:
            raise ValueError("lisa: no parameter's name shows a numbered block (`.layers.0.`) to draw; use full")
        self._stacks = layout.stacks
        return super().parameters(model)

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows as they are, and draw the blocks that train in this step."""
        # By the number of the interval, so that a run that goes on within one draws the same.
        random = np.random.default_rng([self.seed, context.step // self.interval])
        self._drawn = set()
        for stack, count in sorted(self._stacks.items()):
            blocks = random.choice(count, min(self.blocks, count), replace=False)
            self._drawn.update((stack, int(block)) for block in blocks)
        return rows

    def after_backward(self, model: "PrefixModel") -> None:
        """Take away the gradients of the blocks that were not drawn."""
        for name, weight in model.model.named_parameters():
            inside = locate(name)
            if inside is not None and inside not in self._drawn:
                # None, and not zeros: the optimizer passes over the weight, and neither decay nor momentum moves it.
                weight.grad = None

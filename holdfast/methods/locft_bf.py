"""LocFT-BF: facts are edited into one matrix of the model by plain training, breadth first."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from accelerate.utils import reduce
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import loading
from holdfast.row import Row
from holdfast.weights.layout import locate

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.head import LabelLogits
    from holdfast.prefix.model import PrefixModel


@dataclass
class LocftBf(Method):
    """Train one matrix of one block on facts to be edited in, batch after batch over all of them, and leave out steps on known ones.

    The editing baseline that beats most editors when all edits are shuffled through several passes, instead of one after another until each
    is learned. A step whose loss per answer is below `floor` moves nothing. The target's test split asks the edits themselves
    (reliability); give rephrased questions and unrelated facts as `--general` tasks to measure generalisation and locality. There is no
    rule for the best block (the authors have 22 of 32, 6 of 28 and 23 of 32): sweep `--set model.block=...`. Training ends with its steps,
    and not once all is learned; steps that move nothing cost no accuracy, and the log counts them. Costs a forward and backward, and
    optimizer state for one matrix.

    Source: Yang et al. 2026, "Fine-tuning done right in model editing" (ICLR; arXiv 2509.22072), section 4
    """

    KIND: ClassVar[str] = "LocftBf"
    defaults: ClassVar[dict[str, Any]] = {
        "learning_rate": 5e-4,
        "steps": 200,
        "batch_size": 100,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "loss_per": "target",
    }

    block: int = Field(default=-1, ge=-1, description="number of the block from 0; -1: two thirds of the way up")
    module: str = Field(
        default="mlp.down_proj", description="end of the name of what moves in it, such as mlp.down_proj or self_attn"
    )
    floor: float = Field(
        default=1e-2, ge=0, allow_inf_nan=False, description="loss per answer below which a step moves nothing, in nats"
    )

    def beside(self, other: Method) -> str:
        """Refuse another loss."""
        return "it leaves out steps by the token loss, which the other replaces" if other.replaces_loss else ""

    def prepare(self, context: Context) -> None:
        """Find the parameters.

        Raises:
            ValueError: the model has no such block, or the block no such module.
        """
        names = [name for name, _ in context.model.model.named_parameters()]
        inside = {name: location[1] for name in names if (location := locate(name)) is not None}
        if not inside:
            raise ValueError("locft_bf: no parameter's name shows a numbered block (`.layers.0.`); use full")
        count = max(inside.values()) + 1
        block = 2 * count // 3 if self.block == -1 else self.block
        if block >= count:
            raise ValueError(f"locft_bf.block={block}: the model has blocks 0 to {count - 1}")
        self._names = {name for name in names if inside.get(name) == block and f".{self.module}." in f".{name}."}
        if not self._names:
            modules = sorted(
                {name.partition(f".{block}.")[2].rpartition(".")[0] for name in inside if inside[name] == block}
            )
            raise ValueError(f"locft_bf.module={self.module!r}: block {block} has none; it has {', '.join(modules)}")
        self._loss, self._answers, self.skipped = 0.0, 0.0, 0

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the parameters of the module in the block."""
        yield ParameterGroup([p for name, p in model.model.named_parameters() if name in self._names])

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows; the loss of the step is counted from 0."""
        self._loss = self._answers = 0.0
        return rows

    def penalty(self, model: "PrefixModel", rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Add nothing; count the loss of the forward."""
        with torch.no_grad():
            total = output.total(_weighted_loss)
        self._loss += float(total)
        self._answers += float(output.weights.sum())
        return None

    def after_backward(self, model: "PrefixModel") -> None:
        """Drop the gradients where the step has nothing left to learn."""
        # Of all processes together: were each to decide by its own rows, their weights would part.
        seen = torch.tensor([self._loss, self._answers], device=next(model.parameters()).device)
        loss, answers = reduce(seen, "sum").tolist()  # pyright: ignore[reportAttributeAccessIssue]
        if answers and loss / answers < self.floor:
            self.skipped += 1
            for parameter in model.parameters():
                # None and not zeros: on zeros the optimizer would go on by its momentum.
                parameter.grad = None

    def figures(self) -> Mapping[str, float]:
        """Return the number of steps so far that moved nothing."""
        return {"skipped": float(self.skipped)}

    def state_dict(self) -> dict[str, Any]:
        """Return the number of skipped steps."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state["skipped"]

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the whole model, as transformers reads it."""
        loading.save(pretrained, folder / "model")


def _weighted_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return torch.dot(F.cross_entropy(logits.float(), labels, reduction="none"), weights.float())

"""LEVI: a small network beside the frozen model, and an ensemble of both at several depths."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import side_network
from holdfast.models.side_network import SideShape
from holdfast.prefix.attached import as_attached, recomputed
from holdfast.prefix.capability import capability, capability_now
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.head import LabelLogits
    from holdfast.prefix.model import PrefixModel


@dataclass
class Levi(Method):
    """Train a small new network beside the frozen model, whose states and its own are joined at several depths.

    Two views make the answer: the model's, which stays as it is, and that of a network that knows the target alone. At each tap an
    adapter sees both states, and the loss is the sum of the taps' losses, read through the model's own final norm and head. No plain
    model comes of it: `adapter/` is read by `evaluate`, `generate`, `serve` and `holdfast.load`, and without it the model answers as
    before. The paper gives no sizes and no code: taps, widths, the residual adapters that start at 0, and the network's input (the
    model's embeddings, through a projection) are choices of ours. Stands behind a prompt (promot+levi) and demonstrations (fticl+levi),
    but not behind a deep prefix, which has no keys for its blocks. Costs a forward of the model for each tap, and little memory.

    Source: Roh et al. 2024, "LEVI: generalizable fine-tuning via layer-wise ensemble of different views" (ICML)
    """

    KIND: ClassVar[str] = "Levi"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "steps": 200, "weight_decay": 0.0}

    taps: int = Field(default=3, ge=1, description="depths at which both are joined, the last block among them")
    heads: int = Field(default=0, ge=0, description="attention heads of its blocks; 0: an eighth of the model's")
    adapter: int = Field(default=128, ge=1, description="inner width of the adapter of each tap")
    answer: Literal["last", "mean"] = Field(
        default="last", description="what answers: the last tap, or the mean of all taps' states before the head"
    )

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folder of the network."""
        return ("adapter",)

    def beside(self, other: Method) -> str:
        """Refuse another loss, and factors of the tokens."""
        if other.replaces_loss:
            return "each of its taps is trained by the token loss, which the other replaces"
        # The loop asks for factors once a forward, and the taps' losses are forwards of this method's own.
        factors = type(other).token_factors is not Method.token_factors
        return "the other's factors of the token loss would reach the last tap alone" if factors else ""

    def prepare(self, context: Context) -> None:
        """Put the network into the model, in place.

        Raises:
            ValueError: the model's blocks cannot be built in small, rows are not computed rightly with it, or a deep prefix stands before.
        """
        if not context.pretrained.architecture.one_sequence:
            raise ValueError("levi: a model with an encoder is not supported; use a decoder-only model")
        if any(as_attached(prompt()).deep for prompt in context.model.prompts):
            raise ValueError(
                "levi: a deep prefix has no keys for the blocks beside the model; use a soft prompt (promot+levi)"
            )
        model = context.model.model
        packed = capability(model).packed
        self._network = side_network.build(model, SideShape(self.taps, self.heads, self.adapter, self.answer))
        verdict = capability_now(model)
        if packed and not verdict.packed:
            raise ValueError(f"levi: rows side by side are computed otherwise than alone with it ({verdict.why})")

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return what was put beside the model."""
        yield ParameterGroup(list(self._network.parameters()), weight_decay=False)

    def penalty(self, model: "PrefixModel", rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Return the sum of the mean token losses of all taps but the last, whose loss is the loop's own.

        Raises:
            ValueError: gradient checkpointing is on.
        """
        if recomputed(model.model):
            raise ValueError(
                "gradient_checkpointing: blocks beside the model cannot be computed a second time; leave it out"
            )
        total = None
        for tap in range(self.taps - 1):
            self._network.tap = tap
            try:
                loss = mean_loss(model(rows))
            finally:
                self._network.tap = None
            total = loss if total is None else total + loss
        return total

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the network below `adapter/`."""
        side_network.write(self._network, pretrained.source, folder / "adapter")


def mean_loss(output: "LabelLogits") -> Tensor:
    """Return the mean cross entropy of the labels, by their weights, in nats."""
    return -(output.token_log_likelihoods() * output.weights).sum() / output.weights.sum()

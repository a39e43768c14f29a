"""MoFO: only the entries with the largest momentum move."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from holdfast.methods.base import Context, Method

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel


@dataclass
class Mofo(Method):
    """Move, in each step, only the entries of every matrix whose gradients' moving average is largest: a share of `share`.

    Beside a method that chooses the parameters, such as `Full`. Use it to stay near the start without replayed data and without a penalty;
    a smaller share stays nearer and learns slower. Norms and biases move as a whole. In a step, an entry that is not selected stays to the
    bit; in the authors' code weight decay moves it all the same. It takes one pass over the weights more in a step, and memory for
    two more copies of what moves: the moving average, and the weights before the step.

    Source: Chen et al. 2025, "MoFO: momentum-filtered optimizer for mitigating forgetting in LLM fine-tuning" (TMLR), algorithm 1
    """

    KIND: ClassVar[str] = "Mofo"

    share: float = Field(default=0.15, gt=0, le=1, description="share of each matrix's entries that moves in a step")
    beta: float = Field(
        default=0.9, ge=0, lt=1, description="weight of the past in the moving average; AdamW's own is 0.9"
    )

    def beside(self, other: Method) -> str:
        """Refuse to select among nothing."""
        if not other.moves_matrices:
            return "the other moves vectors alone, which this one moves as a whole, so that it would do nothing"
        return ""

    def prepare(self, context: Context) -> None:
        """Begin without a past."""
        self._moments: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}

    def after_backward(self, model: "PrefixModel") -> None:
        """Keep the weights as they are before the step."""
        for name, weight in self._filtered(model):
            before = self._before.get(name)
            if before is None:
                self._before[name] = weight.detach().clone()
            else:
                before.copy_(weight.detach())

    @torch.no_grad()
    def after_step(self, model: "PrefixModel") -> None:
        """Put back the entries whose momentum is not among the largest."""
        # The optimizer's own first moment, from the same gradients: clipped, which `after_backward` does not see yet.
        for name, weight in self._filtered(model):
            gradient, moment = weight.grad, self._moments.get(name)
            assert gradient is not None  # see `_filtered`
            moment = torch.zeros_like(weight) if moment is None else moment.to(weight.device)
            self._moments[name] = moment.lerp_(gradient, 1 - self.beta)
            weight.copy_(torch.where(largest(moment, self.share), weight, self._before[name]))

    def state_dict(self) -> dict[str, Any]:
        """Return the moving averages."""
        return {"moments": dict(self._moments)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from these moving averages."""
        self._moments = {name: moment.clone() for name, moment in state["moments"].items()}

    def _filtered(self, model: "PrefixModel") -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the matrices that move, by name; none where all of each may."""
        if self.share < 1:
            for name, weight in model.named_parameters():
                if weight.ndim > 1 and weight.grad is not None:
                    yield name, weight


def largest(moment: Tensor, share: float) -> Tensor:
    """Return where a tensor's magnitudes are among its largest `share`, ties included, and not 0: bool, of the tensor's shape."""
    sizes = moment.abs()
    keep = max(1, round(share * sizes.numel()))
    least = sizes.flatten().topk(keep, sorted=False).values.min()
    # Not 0: rows of words that never came have no momentum, and would be let go as ties for the smallest.
    return (sizes >= least) & (sizes > 0)

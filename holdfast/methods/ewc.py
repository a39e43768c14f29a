"""EWC: elastic weight consolidation."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from accelerate import PartialState
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.methods._calibration import named_rows, written_rows
from holdfast.methods._named_content import content_versions
from holdfast.methods.base import Context, Method
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits


@dataclass
class Ewc(Method):
    """Hold each weight to where it started, by its importance for general text: importance / 2 * sum of F * (w - w0)^2.

    F is the diagonal of the Fisher information, per token, on texts that the model writes itself before it moves, or on those of
    `calibrate`. To second order, and where weights do not act together, the penalty is importance * KL(base | model) per token, the
    unit of `kl_base`; far from the start it holds much less than that, so that useful values are hundreds and more. Beside a method
    that chooses the parameters; of a LoRA it holds the adapter's matrices, whose second factor alone matters where the first update
    begins. Use it as the baseline that everybody asks for. It costs memory for two more copies of what moves, one forward and
    backward for each of `samples` texts before the first step, and a pass over the weights in every forward.

    Source: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (PNAS), equation 3
    """

    KIND: ClassVar[str] = "Ewc"

    importance: float = Field(default=1000.0, ge=0, allow_inf_nan=False, description="weight of the penalty; 0 is off")
    calibrate: str = Field(
        default="", description="a TASK, or a file of texts; empty: texts that the model writes itself"
    )
    samples: int = Field(default=128, ge=1, description="texts that F is the mean of")
    sample_length: int = Field(default=128, ge=2, description="most tokens of a text")
    seed: int = Field(default=0, description="of the texts that the model writes")

    def versions(self) -> tuple[str, ...]:
        """Return the fingerprints of what `calibrate` names."""
        return content_versions(self.calibrate)

    def prepare(self, context: Context) -> None:
        """Copy the weights before they move.

        Raises:
            ValueError: the model writes no texts, and none are given.
        """
        self._fisher: dict[str, Tensor] = {}
        if self.importance and not self.calibrate and not context.pretrained.architecture.plain_texts:
            raise ValueError("ewc: a model with an encoder writes no texts from nothing; name a TASK in `calibrate`")
        # All of them: the method that chooses which will move says so only after every method has prepared.
        weights = context.model.model.named_parameters() if self.importance else ()
        self._start = {name: weight.detach().clone() for name, weight in weights}

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows; the first call measures F."""
        # Not in `prepare`: now it is known what moves, and a resumed run has F in its state.
        if self.importance and not self._fisher:
            began = time.perf_counter()
            if self.calibrate:
                texts = named_rows(self.calibrate, context.pretrained, self.samples, self.sample_length)
            else:
                texts = written_rows(context, self.samples, self.sample_length, self.seed)
            self._fisher = fisher(context.model, texts)
            self._start = {name: self._start[name] for name in self._fisher}
            if PartialState().is_main_process:
                seconds = time.perf_counter() - began
                print(f"ewc: measured on {len(texts)} texts in {seconds:.0f} s", file=sys.stderr, flush=True)
        return rows

    def penalty(self, model: PrefixModel, rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Return importance / 2 * the weighted sum of squared differences, a scalar."""
        if not self.importance:
            return None
        terms = []
        for name, weight in model.model.named_parameters():
            if name in self._fisher:
                # What a checkpoint brought is on the CPU; moving it once more costs nothing.
                self._fisher[name] = held = self._fisher[name].to(weight.device)
                self._start[name] = start = self._start[name].to(weight.device)
                terms.append((held * (weight - start).pow(2)).sum())
        return self.importance / 2 * torch.stack(terms).sum()

    def state_dict(self) -> dict[str, Any]:
        """Return F: another machine would write other texts."""
        return {"fisher": dict(self._fisher)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with this F."""
        # A state from before the first batch has none, and what was measured since stays.
        if state["fisher"]:
            self._fisher = dict(state["fisher"])


def fisher(model: PrefixModel, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Return the squared gradients of the rows' log-likelihoods, summed over rows and divided by their labels: of each moving weight."""
    moving = {name: weight for name, weight in model.model.named_parameters() if weight.requires_grad}
    squares = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in moving.items()}
    training, labels = model.training, sum(len(row.labels) for row in rows)
    model.eval()
    for row in rows:
        likelihood = model([row]).log_likelihoods(1).sum()
        gradients = torch.autograd.grad(likelihood, list(moving.values()), allow_unused=True)
        for name, gradient in zip(moving, gradients, strict=True):
            if gradient is not None:
                squares[name].add_(gradient.float().pow(2), alpha=1 / labels)
    model.train(training)
    return squares

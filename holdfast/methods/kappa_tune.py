"""KappaTune: the matrices with the smallest condition numbers train."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from holdfast.methods._linear_targets import linear_targets, matrix
from holdfast.methods.base import ParameterGroup
from holdfast.methods.full import Full

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel


@dataclass
class KappaTune(Full):
    """Train the linear layers whose weights have the smallest condition numbers, a share of `share`, and freeze all else.

    A matrix that stretches all directions alike is taken to hold little that is special, and one that stretches a few far more than the
    rest to hold what pretraining put there. Use it to try, without any data, whether such a choice keeps more than other shares of the
    weights do. Published accounts disagree: the paper's finds less forgetting than with LoRA, a check in PEFT's pull request slightly more.
    On the lab it keeps nearly what the smallest plain rate does, and does not learn a target that takes a new ability.
    It takes a singular value decomposition of every matrix before the first step (minutes on billions of weights), and then the
    time of full fine-tuning and optimizer states of what trains alone.

    Source: Ludwig 2025, "The condition number as a scale-invariant proxy for information encoding in neural units" (arXiv 2506.16289);
    the choice as in PEFT's `KappaTuneSelector`
    """

    KIND: ClassVar[str] = "KappaTune"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}

    share: float = Field(default=0.2, gt=0, le=1, description="share of the linear layers that trains, at least one")
    target: str = Field(
        default="all-linear", description="layers to choose among: ends of names, by commas, or all-linear"
    )

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the weights of the chosen layers, without their biases.

        Raises:
            ValueError: `target` names a module that the model does not have, or the head.
        """
        layers = linear_targets(model.model, self.target, (nn.Linear, Conv1D))
        kappas = {name: condition_number(matrix(layer)) for name, layer in layers.items()}
        chosen = sorted(kappas, key=kappas.__getitem__)[: max(1, int(len(kappas) * self.share))]
        return [ParameterGroup([model.model.get_parameter(f"{name}.weight") for name in chosen])]


def condition_number(weight: Tensor) -> float:
    """Return the largest singular value of a matrix over the smallest, in float32."""
    values = torch.linalg.svdvals(weight.float())
    # As PEFT has it, so that a matrix without full rank is last and not divided by 0.
    return float(values[0] / (values[-1] + 1e-8))

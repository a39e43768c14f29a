"""Train the value projections alone."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic.dataclasses import dataclass

from holdfast.methods._context import by_dimension
from holdfast.methods.base import ParameterGroup
from holdfast.methods.full import Full

if TYPE_CHECKING:
    from holdfast.prefix.model import PrefixModel

# The names that model families give to the projection from a layer's input to its values.
VALUE = re.compile(r"\.(v_proj|v_lin|value|values|v|wv)\.(weight|bias)$")


@dataclass
class ValueOnly(Full):
    """Train the value projections of every attention, and freeze all else: where a model looks stays, and what it takes from there moves.

    Use it where the model shall go on learning from demonstrations: of linear attention it is shown that training queries and keys unlearns
    this and training values does not. A plain model is left, without an adapter. Few weights move (1 to 8 % of a block, the fewest where
    many queries share a value), so that the learning rate may be higher. It takes the time of full fine-tuning without the gradients of the
    frozen weights, and optimizer states for what moves only. Models whose query, key and value are one tensor (GPT-2) are refused.

    Source: Lee et al. 2026, "Fine-tuning without forgetting in-context learning: a theoretical analysis of linear attention models"
        (arXiv 2602.23197)
    """

    KIND: ClassVar[str] = "ValueOnly"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 3e-4, "steps": 200}

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the value projections; their biases without decay.

        Raises:
            ValueError: no parameter is one.
        """
        moving = [weight for name, weight in model.model.named_parameters() if VALUE.search(name)]
        if not moving:
            raise ValueError(
                "value_only: the model has no value projection of its own (`v_proj`): one tensor may hold query, key and value; use full, "
                "half_fine_tuning or lora"
            )
        return by_dimension(moving)

"""Full fine-tuning."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic.dataclasses import dataclass

from holdfast.methods._context import by_dimension
from holdfast.methods.base import Method, ParameterGroup
from holdfast.models import loading

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class Full(Method):
    """Train every weight of the model. Behind a frozen soft prompt this is the second stage of ProMoT.

    Use it as the baseline that everything else is compared with. It takes the most memory: gradients and two moments of every weight.

    Source: the plain baseline; as stage 2: Wang et al. 2024, ICLR, section 4 (two-stage fine-tuning)
    """

    KIND: ClassVar[str] = "Full"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return all weights; those of norms and biases (one dimension) without decay."""
        return by_dimension(model.model.parameters())

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the whole model, as transformers reads it."""
        loading.save(pretrained, folder / "model")

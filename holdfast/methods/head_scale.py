"""LoFiT's first phase: a scale is learned for every attention head's output, and tells which heads the task needs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from safetensors.torch import save_file
from torch import Tensor, nn

from holdfast.methods._linear_targets import matrix
from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models import loading
from holdfast.models.attention_heads import projections, width
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.head import LabelLogits
    from holdfast.prefix.model import PrefixModel

SCALE, FILE = "head_scale", "heads.safetensors"


@dataclass
class HeadScale(Method):
    """Learn (1 + a) for each attention head's output, the model frozen; the norm of a head's `a` is how much the task needs it.

    The first phase of the recipe `lofit`, which goes on with the strongest heads. `l1` makes few heads strong. By itself it leaves a
    model whose output projections have the scales in their columns. The cost is a forward and a backward of the whole model, and
    optimizer state for layers * width numbers only.

    Source: Yin et al. 2024, "LoFiT: localized fine-tuning on LLM representations" (NeurIPS), section 3.1
    """

    KIND: ClassVar[str] = "HeadScale"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 5e-3, "steps": 100, "weight_decay": 0.0}
    moves_matrices: ClassVar[bool] = False

    l1: float = Field(default=1e-3, ge=0, allow_inf_nan=False, description="penalty on the sum of |a|")
    init_std: float = Field(default=1e-3, ge=0, description="standard deviation that the scales start with")
    seed: int = Field(default=0, description="of the scales' start")

    def prepare(self, context: Context) -> None:
        """Put a scale of each head's width before every output projection.

        Raises:
            ValueError: the model's attention is not known.
        """
        self._projections = projections(context.model.model)
        random = torch.Generator().manual_seed(self.seed)
        for projection in self._projections.values():
            start = self.init_std * torch.randn(width(projection), generator=random)
            projection.register_parameter(SCALE, nn.Parameter(start.to(context.model.model.device)))
            projection.register_forward_pre_hook(scaled)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the scales."""
        yield ParameterGroup([getattr(p, SCALE) for p in self._projections.values()], weight_decay=False)

    def penalty(self, model: "PrefixModel", rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Return l1 * the sum of all |a|, a scalar."""
        if not self.l1:
            return None
        return self.l1 * torch.stack([getattr(p, SCALE).abs().sum() for p in self._projections.values()]).sum()

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write the norm of each head's scale, `[heads]` for each projection, and the model with the scales in its projections."""
        heads = model.model.config.get_text_config().num_attention_heads
        norms = {}
        for name, projection in self._projections.items():
            scale = getattr(projection, SCALE).detach()
            norms[name] = scale.float().cpu().view(heads, -1).norm(dim=1)
            weight = matrix(projection)
            weight.copy_(weight.float() * (1 + scale.float()))
            projection._forward_pre_hooks.clear()
            delattr(projection, SCALE)
        save_file(norms, folder / FILE)
        loading.save(pretrained, folder / "model")


def scaled(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return a projection's inputs, heads' outputs, times (1 + its scale)."""
    # The parameter of the module that is called, so that a copy of the model has a hook on its own.
    return ((inputs[0] * (1 + getattr(module, SCALE))).to(inputs[0].dtype), *inputs[1:])

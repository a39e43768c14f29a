"""LoFiT's second phase: a vector is added to the output of each chosen attention head."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from safetensors.torch import load_file
from torch import Tensor, nn

from holdfast.methods._attention_heads import add_biases, can_have_bias
from holdfast.methods._linear_targets import matrix
from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.methods.head_scale import FILE
from holdfast.models import loading
from holdfast.models.attention_heads import projections, width

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel

SHIFT, CHOSEN = "head_shift", "head_chosen"


@dataclass
class HeadBias(Method):
    """Learn a vector that is added to the output of each chosen attention head; every weight of the model stays as it was, to the bit.

    The second phase of the recipe `lofit`: `share` of all heads, the strongest of the phase before (or, for an ablation, random ones).
    The vectors fold into biases of the attention's output projections, so the export is a plain model, equal to float noise. Where the
    model has no such biases its configuration gets `attention_bias`, with zeros for queries, keys and values; one whose code has no such
    setting (Qwen2) is refused. Edits and drift compare weights that both models have, and do not see the added biases.
    The cost is a forward and a backward of the whole model, and optimizer state for the chosen heads' numbers only.

    Source: Yin et al. 2024, "LoFiT: localized fine-tuning on LLM representations" (NeurIPS), section 3.2
    """

    KIND: ClassVar[str] = "HeadBias"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-2, "steps": 200, "weight_decay": 0.0}
    stages: ClassVar[tuple[str, ...]] = ("heads",)

    share: float = Field(default=0.03, gt=0, le=1, description="part of all heads that get a vector, at least one")
    choose: Literal["strongest", "random"] = Field(default="strongest", description="random is an ablation")
    init_std: float = Field(default=1e-3, ge=0, description="standard deviation that the vectors start with")
    seed: int = Field(default=0, description="of the vectors' start, and of random heads")
    heads: Any = None

    def prepare(self, context: Context) -> None:
        """Choose the heads, and add their vectors before the output projections.

        Raises:
            ValueError: the model's attention is not known, or can have no biases to fold into; or no stage has measured the heads.
        """
        model = context.model.model
        known = projections(model)
        if not can_have_bias(model):
            raise ValueError(
                f"lofit: the attention of {type(model).__name__} has no output bias that the vectors could fold into; use lora"
            )
        if "heads" not in context.inputs:
            raise ValueError("head_bias: there is no phase before it to choose the heads; use --method lofit")
        norms = load_file(context.inputs["heads"] / FILE)
        count = model.config.get_text_config().num_attention_heads
        random = torch.Generator().manual_seed(self.seed)
        every = torch.cat([norms[name] for name in known])
        order = (
            torch.randperm(len(every), generator=random) if self.choose == "random" else every.argsort(descending=True)
        )
        chosen = sorted(order[: max(1, round(self.share * len(every)))].tolist())
        self._shifted: dict[str, nn.Module] = {}
        for number, (name, projection) in enumerate(known.items()):
            heads = [index - number * count for index in chosen if number * count <= index < (number + 1) * count]
            if heads:
                size = width(projection) // count
                start = self.init_std * torch.randn(len(heads), size, generator=random)
                projection.register_parameter(SHIFT, nn.Parameter(start.to(model.device)))
                index = torch.tensor(heads, device=model.device)
                projection.register_buffer(CHOSEN, index, persistent=False)
                projection.register_forward_pre_hook(shifted)
                self._shifted[name] = projection

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the vectors of the chosen heads."""
        yield ParameterGroup([getattr(p, SHIFT) for p in self._shifted.values()], weight_decay=False)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Fold the vectors into biases, b = W v, and write the model as transformers reads it."""
        biases = {}
        for name, projection in self._shifted.items():
            # In float64: the bias is one number for what the hook adds up with all other inputs.
            vector = _vector(projection, width(projection)).detach().double()
            biases[name] = matrix(projection).double() @ vector
            projection._forward_pre_hooks.clear()
            delattr(projection, SHIFT)
            delattr(projection, CHOSEN)
        pretrained.model = add_biases(model.model, biases)
        loading.save(pretrained, folder / "model")


def _vector(projection: Any, size: int) -> Tensor:
    """Return the vectors of all heads `[size]`, zeros where a head was not chosen."""
    shift, chosen = getattr(projection, SHIFT), getattr(projection, CHOSEN)
    return shift.new_zeros(size // shift.shape[1], shift.shape[1]).index_copy(0, chosen, shift).flatten()


def shifted(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return a projection's inputs, heads' outputs, plus the vectors of its chosen heads."""
    outputs = inputs[0]
    return ((outputs + _vector(module, outputs.shape[-1])).to(outputs.dtype), *inputs[1:])

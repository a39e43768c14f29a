"""The outputs of attention heads: the projections that mix them, by layer."""

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

BESIDE = "side_network"  # the attribute of a model that holds what a method put beside it, with attention of its own
PROJECTIONS = ("o_proj", "c_proj", "out_proj", "dense", "o")  # as transformers names what mixes the heads


def projections(model: Any) -> dict[str, nn.Module]:
    """Return the output projection of each attention, in the order of layers.

    Raises:
        ValueError: none is known by its name, or their inputs are no whole number of heads.
    """
    heads = model.config.get_text_config().num_attention_heads
    known = {}
    for name, module in model.named_modules():
        parent, _, end = name.rpartition(".")
        # Of the model itself, and not of what stands beside it.
        attention = any("att" in part.lower() for part in parent.split(".")) and not name.startswith(f"{BESIDE}.")
        # PEFT's layer stands in the place of the projection, and has it inside.
        if end in PROJECTIONS and attention and isinstance(getattr(module, "base_layer", module), nn.Linear | Conv1D):
            known[name] = module
    if not known or any(width(module) % heads for module in known.values()):
        raise ValueError(
            f"{type(model).__name__} has no attention output of {heads} heads under a known name ({', '.join(PROJECTIONS)})"
        )
    return known


def width(projection: Any) -> int:
    """Return the number of a projection's inputs: heads * the size of a head."""
    plain = getattr(projection, "base_layer", projection)
    return plain.weight.shape[0] if isinstance(plain, Conv1D) else plain.weight.shape[1]

"""The blocks of a decoder, and the norm behind the last of them."""

from typing import Any

from torch import nn

from holdfast.weights.layout import FINAL_NORMS


def blocks(model: Any) -> nn.ModuleList:
    """Return the decoder's blocks.

    Raises:
        ValueError: there is no list of so many modules as the configuration has layers.
    """
    count = model.config.get_text_config().num_hidden_layers
    for module in model.get_decoder().modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(model).__name__}: its blocks are not known by their number, {count}")


def final_norm(model: Any) -> Any:
    """Return the norm behind the last block.

    Raises:
        ValueError: there is none under a known name.
    """
    # Not deeper: blocks and heads have norms of their own.
    for name, module in model.get_decoder().named_children():
        if name in FINAL_NORMS:
            return module
    raise ValueError(
        f"{type(model).__name__}: has no norm behind its last block under a known name ({', '.join(FINAL_NORMS)})"
    )

"""The weights that a model computes with, whatever adapters stand in it, and in whatever codes they are held."""

from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from torch.nn.utils import parametrize


def computed_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that the model computes with, by the names of the plain model.

    An adapter's update is added to its weight, and whole numbers of 8 or 4 bits are the weights that they stand for.
    """
    updates: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer) and not layer.merged:
            # Every LoRA-like layer of PEFT gives its update; their common class does not declare that.
            adapted: Any = layer
            updates[f"{name}.weight"] = sum(
                (adapted.get_delta_weight(adapter) for adapter in layer.active_adapters), torch.zeros(())
            )
    weights = {}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):  # a weight that is computed from others
            weights |= {f"{name}.{end}": getattr(module, end) for end in module.parametrizations}  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
    modules = dict(model.named_modules())
    for name, value in model.named_parameters():
        if name.endswith(".weight"):
            value = dequantize_module_weight(modules[name.removesuffix(".weight")])
        plain = name.replace(".base_layer.", ".")  # PEFT wraps a layer, and puts the original one step deeper.
        weights[plain] = value + updates[plain] if plain in updates else value
    return weights

"""The outputs of attention heads, just before the projection that mixes them: how a method finds, changes and folds them."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.models.attention_heads import projections


def can_have_bias(model: Any) -> bool:
    """Return whether the projections have a bias that survives saving, now or by the configuration's `attention_bias`."""
    known = projections(model)
    if all(module.bias is not None for module in known.values()):
        return True
    config = copy.deepcopy(model.config)
    if not hasattr(config.get_text_config(), "attention_bias"):
        return False
    config.get_text_config().attention_bias = True
    # Tried and not assumed: Qwen2's configuration may hold the field, and its code reads it nowhere.
    with torch.device("meta"):
        rebuilt = type(model)(config)
    names = {name for name, _ in rebuilt.named_parameters()}
    return all(f"{name}.bias" in names for name in known)


def add_biases(model: Any, biases: dict[str, Tensor]) -> Any:
    """Return a model that adds `biases` [D] at the projections of these names, as transformers saves and loads it; 0 where it has others.

    It is the same object where the projections have a bias already, and otherwise one with `attention_bias` in its configuration. The
    caller has asked `can_have_bias`.
    """
    known = projections(model)
    if any(module.bias is None for module in known.values()):
        state = dict(model.state_dict(keep_vars=True))
        config = copy.deepcopy(model.config)
        config.get_text_config().attention_bias = True
        with torch.device("meta"):
            rebuilt = type(model)(config)
        for name, tensor in rebuilt.named_parameters():
            if name not in state:  # queries, keys and values get biases by the same setting: zeros
                state[name] = nn.Parameter(torch.zeros(tensor.shape, dtype=model.dtype, device=model.device))
        rebuilt.load_state_dict(state, assign=True)
        rebuilt.tie_weights()
        # Buffers that are not saved, such as rotary frequencies, were made on no device.
        buffers = dict(model.named_buffers())
        for name, _ in list(rebuilt.named_buffers()):
            parent, _, end = name.rpartition(".")
            rebuilt.get_submodule(parent).register_buffer(end, buffers[name], persistent=name in state)
        rebuilt.generation_config = model.generation_config
        model = rebuilt.eval()
    with torch.no_grad():
        for name, bias in biases.items():
            projection = model.get_submodule(name)
            projection.bias.add_(bias.to(projection.bias))
    return model

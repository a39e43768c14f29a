"""Models that are spread over devices, memory and disk: maps of their parts, and what has to be known of weights that are laid aside.

Accelerate brings a weight that is laid aside to the device that computes while its module runs, and lets it go again. Until then a
parameter of its name, shape and type stands there without numbers, on the device `meta`.
"""

import atexit
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from holdfast.models.architecture import Architecture
from holdfast.models.cache import cache_folder
from holdfast.models.precision import device_map


def offload_folder() -> Path:
    """Return a new folder for weights that are laid on the disk; it goes when this process ends."""
    folder = cache_folder() / "offload"  # Beside what else is large, for a temporary folder may be in memory.
    folder.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.TemporaryDirectory(dir=folder)
    atexit.register(temporary.cleanup)
    return Path(temporary.name)


def check_map(config: Any, architecture: Architecture, device: str) -> None:
    """Refuse a map of modules to devices that does not fit the model; by its configuration.

    Raises:
        ValueError: a name is no module, a weight has no device, or the word embeddings are brought into memory only while they are used.
    """
    modules = device_map(device)
    if isinstance(modules, str) or type(config) not in transformers.MODEL_MAPPING:
        return
    model = hollow(config, architecture)
    names = dict(model.named_modules()).keys() | dict(model.named_parameters()).keys()
    if wrong := sorted(modules.keys() - names):
        raise ValueError(f"device={device}: the model has no module {wrong[0]}; `model.named_modules()` lists them")
    places = {name: _device_of(modules, name) for name, _ in model.named_parameters()}
    if missing := [name for name, where in places.items() if where is None]:
        raise ValueError(
            f"device={device}: says nothing of {missing[0]} and of {len(missing) - 1} more weights; every weight needs a device"
        )
    words = next(name for name, p in model.named_parameters() if p is model.get_input_embeddings().weight)
    if places[words] == "disk" or (places[words] == "cpu" and set(modules.values()) - {"cpu", "disk"}):
        raise ValueError(
            f"device={device}: {words} are the word embeddings, with which rows begin; map them to the device that computes (with GPUs in "
            "the map, the first of them)"
        )


def _device_of(modules: Mapping[str, int | str], name: str) -> int | str | None:
    """Return the device of a weight: that of the innermost module that is mapped; None where none is."""
    while name not in modules and name:
        name = name.rpartition(".")[0]
    return modules.get(name)


def hollow(config: Any, architecture: Architecture) -> Any:
    """Return the model of a configuration without its numbers."""
    with torch.device("meta"):
        return getattr(transformers, architecture.auto_class).from_config(config)


def laid_aside(model: nn.Module, name: str) -> torch.Tensor:
    """Return a weight that Accelerate brings into memory only while it is used."""
    module, _, parameter = name.rpartition(".")
    hook: Any = model.get_submodule(module)._hf_hook
    return hook.weights_map[parameter]


@contextmanager
def stand_ins(model: nn.Module) -> Iterator[None]:
    """Put zeros that take no memory in the place of weights that are laid aside, within the context.

    PEFT puts the matrices of a LoRA where the weights beside them are, and would lose their numbers there.
    """
    aside: list[tuple[nn.Module, str, nn.Parameter]] = []
    for module in model.modules():
        aside += [(module, name, p) for name, p in module.named_parameters(recurse=False) if p.device.type == "meta"]
    for module, name, parameter in aside:
        zeros = torch.zeros((), dtype=parameter.dtype).expand(parameter.shape)
        module._parameters[name] = nn.Parameter(zeros, requires_grad=False)
    try:
        yield
    finally:
        for module, name, parameter in aside:
            module._parameters[name] = parameter


def check_in_memory(model: nn.Module, name: str) -> None:
    """Refuse a method that computes with the weights themselves where some of them are laid aside.

    Raises:
        ValueError: they are.
    """
    if any(parameter.device.type == "meta" for parameter in model.parameters()):
        raise ValueError(
            f"{name}: computes with the weights themselves, and some of them are not in memory; use prompt_tuning, lora or promot_lora, or "
            "a device that holds the whole model"
        )

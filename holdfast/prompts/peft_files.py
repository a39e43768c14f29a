"""PEFT's two files of an adapter: written whole or not at all, and read with what is wrong in one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from holdfast.atomic_files import whole, write_text

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def write_adapter(folder: str | Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write an adapter; the configuration comes last, so that a folder with one is whole."""
    folder = Path(folder)
    # safetensors stores no views: a transposed or sliced tensor must be laid out anew.
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole(folder / WEIGHTS) as part:
        safetensors.torch.save_file(held, part, metadata={"format": "pt"})
    write_config(folder, config)


def write_config(folder: str | Path, config: Mapping[str, Any]) -> None:
    """Write an adapter's configuration alone."""
    write_text(Path(folder) / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the configuration of an adapter.

    Raises:
        ValueError: the folder holds none.
    """
    try:
        config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
        config.get("peft_type")  # JSON that is no object has no `get`, and is reported below
        return config
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _unsaved(folder, error) from error


def read_adapter(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (configuration, tensors) of an adapter.

    Raises:
        ValueError: the folder holds none.
    """
    config = read_config(folder)
    try:
        return config, safetensors.torch.load_file(Path(folder) / WEIGHTS)
    except (OSError, SafetensorError, ValueError) as error:
        raise _unsaved(folder, error) from error


def _unsaved(folder: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{folder}: not a saved soft prompt ({CONFIG}, {WEIGHTS}): {error}")

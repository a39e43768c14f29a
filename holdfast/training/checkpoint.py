"""Everything that a killed run needs to go on as if nothing had happened."""

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holdfast.atomic_files import whole


def write_file(tensors: Mapping[str, Tensor], path: Path) -> None:
    """A safetensors file, whole or not at all."""
    with whole(path) as part:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, part)


def read_into(parameters: Mapping[str, nn.Parameter], path: Path) -> None:
    """Copy a file's tensors into the parameters of the same names; the sets of names must be equal."""
    tensors = load_file(path)
    assert tensors.keys() == parameters.keys(), sorted(tensors.keys() ^ parameters.keys())[:5]
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def random_state() -> dict[str, Any]:
    """The state of every random generator that training may draw from."""
    state = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": list(np.random.get_state(legacy=True))[1:],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every random generator back."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys, position, has_gauss, cached))
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def write(
    folder: Path,
    step: int,
    parameters: Mapping[str, nn.Parameter],
    optimizer: Mapping[str, Any],
    methods: list[dict[str, Any]],
    random_states: list[dict[str, Any]],
    progress: Mapping[str, Any],
) -> None:
    """Write `checkpoint-STEP/` and only then remove older ones, so that there is always a whole one."""
    final = folder / f"checkpoint-{step}"
    part = folder / f"checkpoint-{step}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_file(parameters, part / "parameters.safetensors")
    states = [
        {**state, "numpy": [torch.from_numpy(state["numpy"][0].astype(np.int64)), *state["numpy"][1:]]}
        for state in random_states
    ]
    torch.save({"optimizer": optimizer, "methods": methods, "random": states}, part / "state.pt")
    (part / "progress.json").write_text(json.dumps({"step": step, **progress}))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(part, final)
    for old in folder.glob("checkpoint-*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def point(folder: Path, step: int) -> Path:
    """Where the moving parameters of one step on the way are kept (`Settings.curve`)."""
    return folder / "points" / f"{step}.safetensors"


def points(folder: Path) -> list[int]:
    """The steps whose parameters were kept, ascending."""
    return sorted(int(path.stem) for path in (folder / "points").glob("*.safetensors"))


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a stage."""
    found = [path for path in folder.glob("checkpoint-*") if path.suffix != ".part"]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def read(path: Path, parameters: Mapping[str, nn.Parameter]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put the parameters back; returns (optimizer, method and random states; progress)."""
    read_into(parameters, path / "parameters.safetensors")
    state = torch.load(path / "state.pt", weights_only=True)
    for one in state["random"]:
        one["numpy"] = [one["numpy"][0].numpy().astype(np.uint32), *one["numpy"][1:]]
    return state, json.loads((path / "progress.json").read_text())


def clear(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)
    (folder / "best.safetensors").unlink(missing_ok=True)

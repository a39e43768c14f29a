"""Checkpoints: everything that a killed run needs to go on as if nothing had happened."""

import json
import os
import random
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holdfast.atomic_files import whole, writing

PARAMETERS, STATE, PROGRESS = FILES = ("parameters.safetensors", "state.pt", "progress.json")


def write_file(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file, whole or not at all."""
    with whole(path) as part:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, part)


def read_into(parameters: Mapping[str, nn.Parameter], path: Path) -> None:
    """Copy a file's tensors into the parameters of the same names; the sets of names must be equal."""
    copy_into(parameters, load_file(path))


def copy_into(parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into the parameters of the same names; the sets of names must be equal."""
    assert tensors.keys() == parameters.keys(), sorted(tensors.keys() ^ parameters.keys())[:5]
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def random_state() -> dict[str, Any]:
    """Return the state of every random generator that training may draw from."""
    state = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        # Without its first entry, which is the generator's name and always MT19937.
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
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def restore_random_state_of(process: int, states: Sequence[dict[str, Any]]) -> None:
    """Put the random generators of a process back, by the states of as many processes as wrote them."""
    restore_random_state(states[process % len(states)])
    if process >= len(states):
        # A process that was not there before must not draw what another one draws.
        set_seed(int(torch.randint(2**31, ())) + process)


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint: the parameters that move, and the states of the optimizer, the methods and each process's random
    generators. `progress` has its step.
    """

    parameters: Mapping[str, Tensor]
    optimizer: dict[str, Any]
    methods: list[dict[str, Any]]
    random: list[dict[str, Any]]
    progress: Mapping[str, Any]


def path_of(folder: Path, step: int) -> Path:
    """Return the folder of a stage's checkpoint."""
    return folder / f"checkpoint-{step}"


def write(folder: Path, saved: Saved, kept: Sequence[Path] = ()) -> None:
    """Write `checkpoint-STEP/` to the disk and only then remove others, but for those `kept`, so that there is always a whole one."""
    final = path_of(folder, saved.progress["step"])
    part = final.with_name(f"{final.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    # As a tensor, because `torch.load(weights_only=True)` refuses numpy arrays; in int64, which holds every uint32.
    states = [
        {**state, "numpy": [torch.from_numpy(state["numpy"][0].astype(np.int64)), *state["numpy"][1:]]}
        for state in saved.random
    ]
    try:
        with writing(final):
            part.mkdir(parents=True)
            write_file(saved.parameters, part / PARAMETERS)
            torch.save({"optimizer": saved.optimizer, "methods": saved.methods, "random": states}, part / STATE)
            (part / PROGRESS).write_text(json.dumps(dict(saved.progress)), encoding="utf-8")
            for name in FILES:
                _flush(part / name)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _remove(final)  # A folder that is not empty cannot be replaced.
    os.replace(part, final)
    clear(folder, (final, *kept))


def _flush(path: Path) -> None:
    """Wait until a file is on the disk."""
    # Without it a power failure can keep the rename, which comes later, and lose the content that it names.
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def clear(folder: Path, kept: Sequence[Path] = ()) -> None:
    """Remove all checkpoints but those kept, with the best weights that only others counted on, and what a kill left of them."""
    for path in folder.glob("checkpoint-*"):
        # Folders of a like name, such as `checkpoint-of-mine`, are a user's and stay.
        if path.suffix in (".part", ".gone"):
            shutil.rmtree(path, ignore_errors=True)
        elif path not in kept and _step(path) is not None:
            _remove(path)
    best = {best_path(folder, step) for path in kept if (step := _best_step(path)) is not None}
    for path in set(folder.glob("best*.safetensors")) - best:
        path.unlink()


def _best_step(checkpoint: Path) -> int | None:
    """Return the step of the best weights that a checkpoint counts on; None where there are none, or it is damaged."""
    try:
        return json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))["best_step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove(folder: Path) -> None:
    """Remove a checkpoint."""
    gone = folder.with_name(f"{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        # Renamed first: a kill in the middle of removing must not leave half a checkpoint under the name of a whole one.
        os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _step(path: Path) -> int | None:
    """Return the step of a checkpoint's folder; None of any other path."""
    match = re.fullmatch(r"checkpoint-(\d+)", path.name)
    return int(match[1]) if match and path.is_dir() else None


def best_path(folder: Path, step: int) -> Path:
    """Return the path of the weights after `step`, while they are those with the best validation score so far."""
    # Named by the step: a run that goes on from before it may find these weights worse, by a rounding error, than older ones.
    return folder / f"best-{step}.safetensors"


def snapshot_path(folder: Path, step: int) -> Path:
    """Return the path of the moving parameters that a stage keeps of one step along training (`TrainSettings.curve`)."""
    return folder / "points" / f"{step}.safetensors"


def snapshot_steps(folder: Path) -> list[int]:
    """Return the steps whose parameters were kept, ascending."""
    return sorted(int(path.stem) for path in (folder / "points").glob("*.safetensors"))


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a stage, the newest first."""
    steps = {path: step for path in folder.glob("checkpoint-*") if (step := _step(path)) is not None}
    return sorted(steps, key=lambda path: -steps[path])


def read(path: Path, shapes: Mapping[str, torch.Size]) -> Saved:
    """Return the content of a checkpoint whose parameters have these shapes; nothing is changed by reading one that is damaged.

    Raises:
        Damaged: a file of it is missing, cut short or not what was written, or the best weights that it counts on are.
    """
    try:
        parameters = _tensors(path / PARAMETERS, shapes)
        # To the processor first: the run may go on on another device, and the optimizer puts its state beside the parameters.
        state = torch.load(path / STATE, weights_only=True, map_location="cpu")
        for generators in state["random"]:
            generators["numpy"] = [generators["numpy"][0].numpy().astype(np.uint32), *generators["numpy"][1:]]
        progress = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
        saved = Saved(parameters, state["optimizer"], state["methods"], state["random"], progress)
        if {"step", "best", "best_step", "token_budget"} - progress.keys() or progress["step"] != _step(path):
            raise ValueError(f"{PROGRESS} is not that of this step")
        if progress["best_step"] is not None:
            # Read now: that these weights are damaged would otherwise show only at the end of training.
            _tensors(best_path(path.parent, progress["best_step"]), shapes)
    except (PermissionError, MemoryError):
        raise  # The checkpoint may well be whole.
    except Exception as error:
        # Each reader has its errors for files that are cut short: EOFError, KeyError, UnpicklingError ...
        raise Damaged(
            f"{path.name} is damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    return saved


class Damaged(ValueError):
    """A checkpoint cannot be read."""


def _tensors(path: Path, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    tensors = load_file(path)
    if {name: tensor.shape for name, tensor in tensors.items()} != dict(shapes):
        raise ValueError(f"{path.name} holds other parameters than those that are trained")
    return tensors

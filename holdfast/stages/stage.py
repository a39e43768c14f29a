"""A stage: folders in, a folder out. Finished ones are skipped, killed ones go on from their last checkpoint."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState

from holdfast.atomic_files import write_text

try:
    import fcntl
except ImportError:  # not on Windows: there, runs that share stages go one at a time
    fcntl = None

MARK = "done.json"
LOCK = ".lock"


@dataclass(frozen=True)
class Stage:
    """One step of an experiment. A field that holds another stage, or a tuple of stages, is a dependency; the hash of the
    configuration names the folder.

    A subclass writes its results into the folder that `run` is given, and needs no care for completion marks, skipping or order.
    """

    name: str

    def run(self, folder: Path, inputs: dict[str, Path]) -> None:
        """Do the work; `inputs` holds the folder of each dependency by field name (`name.0`, `name.1` where a field holds several)."""
        raise AssertionError(f"{type(self).__name__} has no run")


def configuration(value: Any) -> Any:
    """A stage, method or setting as plain data: what its hash is made of, and what config.yaml shows."""
    if isinstance(value, Stage):
        return {"stage": type(value).__name__, **{f.name: configuration(getattr(value, f.name)) for f in fields(value)}}
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__, **{f.name: configuration(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, dict):
        return {str(k): configuration(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [configuration(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def digest(stage: Stage) -> str:
    """Eight hex digits of the configuration, dependencies included."""
    text = json.dumps(configuration(stage), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def folder_of(stage: Stage, root: Path) -> Path:
    """Where a stage's results are, or will be."""
    return root / f"{stage.name}-{digest(stage)}"


def dependencies(stage: Stage) -> dict[str, Stage]:
    """The stages that a stage stands on, as `Stage.run` names them."""
    found: dict[str, Stage] = {}
    for f in fields(stage):
        value = getattr(stage, f.name)
        if isinstance(value, Stage):
            found[f.name] = value
        elif isinstance(value, tuple):
            found |= {f"{f.name}.{i}": one for i, one in enumerate(value) if isinstance(one, Stage)}
    return found


def execute(stage: Stage, root: Path) -> Path:
    """Run what a stage depends on, then the stage, unless it is done already; returns its folder.

    Under `accelerate launch` every process comes here: training runs in all of them, and `run` decides what only one does.
    """
    inputs = {name: execute(before, root) for name, before in dependencies(stage).items()}
    folder = folder_of(stage, root)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        if not (folder / MARK).exists():
            began = time.time()
            stage.run(folder, inputs)
            state = PartialState()
            state.wait_for_everyone()
            if state.is_main_process:
                done = {"seconds": round(time.time() - began, 1), **configuration(stage)}
                write_text(folder / MARK, json.dumps(done, indent=1))
            state.wait_for_everyone()
    return folder


def inputs_of(stage: Stage, root: Path) -> dict[str, Path]:
    """The folders of a stage's dependencies, as `Stage.run` names them."""
    return {name: folder_of(before, root) for name, before in dependencies(stage).items()}


@contextmanager
def alone(folder: Path, waiting: str = "") -> Iterator[None]:
    """While one run works in a folder, others wait, and say so where `waiting` has words. The processes of one launch share the work."""
    if fcntl is None or PartialState().num_processes > 1:
        yield
        return
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(f"{folder}: {waiting}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

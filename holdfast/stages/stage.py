"""A stage: folders in, a folder out. Finished ones are skipped, killed ones go on from their last checkpoint."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, ClassVar

from holdfast.atomic_files import write_text
from holdfast.results.run_folder import RunFolder
from holdfast.stages.lease import leased
from holdfast.stages.loader import Loader
from holdfast.tasks.task_set import TaskRef
from holdfast.training.processes import processes

try:
    import fcntl
except ImportError:  # not on Windows: there, runs that share stages go one at a time
    fcntl = None

MARK = "done.json"
LOCK = ".lock"
# Removed once measured, or of use to a killed run alone: no part of what a stage leaves.
PASSING = (f"{LOCK}*", "points", "checkpoint-*", "best*.safetensors")
_HASHES_OF_FILES: dict[tuple[str, int, int, int], str] = {}  # by path, inode, size and time


@dataclass(frozen=True)
class Stage:
    """One step of an experiment. A stage in a field is a dependency, also in a tuple, and in a field of a method; the hash of the
    configuration names the folder.

    A subclass writes its results into the folder that `run` is given, and needs no care for completion marks, skipping or order.

    What enters the hash is spelled by the class, so that finished folders stay valid when code is renamed (`configuration`): `KIND` is
    the name of the class there, `HASH_KEYS` the key of a field that was renamed (`{"field": "old_name"}`), `HASH_LATER` the value at
    which a field that was added since changes nothing (`{"field": None}`). Methods and settings have the same three.
    """

    KIND: ClassVar[str] = ""

    name: str

    def run(self, folder: Path, inputs: "Inputs") -> None:
        """Write the results into `folder`; `inputs` are those of the stages that this one stands on."""
        raise AssertionError(f"{type(self).__name__} has no run")

    def clear(self, folder: Path) -> None:
        """Remove what only an unfinished run needs: called once the stage is marked done, and again where a kill came between."""

    def hashed(self) -> dict[str, Any]:
        """Return the fields that enter the hash, by their keys there; a subclass may spell a field as folders have had it before."""
        return content_of(self)


def configuration(value: Any, label: str = "") -> Any:
    """Return a stage, method or setting as plain data: its hash is made of it, and `done.json` shows it. `label` is for messages.

    A class appears by its `KIND` (its own name, where a user's class has none), a field by its key in `HASH_KEYS` (else its name). A
    field of `HASH_LATER` is left out while it has the value there, as if it did not exist: folders from before it was added stay valid.

    Raises:
        ValueError: a field holds something else than plain data, tasks, paths and dataclasses.
    """
    if isinstance(value, TaskRef):
        return value.argument  # its version stands beside it, in the stage's `versions`
    if is_dataclass(value) and not isinstance(value, type):
        key, content = ("stage", value.hashed()) if isinstance(value, Stage) else ("kind", content_of(value))
        # Of the class itself: a subclass that a user derives would else have its parent's folders.
        name = type(value).__dict__.get("KIND") or type(value).__name__
        return {key: name, **{field: configuration(v, f"{name}.{field}: ") for field, v in content.items()}}
    if isinstance(value, dict):
        return {str(k): configuration(v, label) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [configuration(v, label) for v in value]
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, PurePath):
        return str(value)
    # The text of any other object may be another one in each process, as that of a set is: a run would not find its own folders again.
    raise ValueError(
        f"{label}a {type(value).__name__} is no part of a configuration, which names the folder of a stage; let the field hold numbers, "
        "text, lists, dictionaries, paths or dataclasses"
    )


def content_of(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that count, by their keys in the hash."""
    keys, later = getattr(value, "HASH_KEYS", {}), getattr(value, "HASH_LATER", {})
    # A field that does not tell two values apart (`compare=False`), such as a device, tells no two folders apart either.
    content = {f.name: getattr(value, f.name) for f in fields(value) if f.compare}
    return {keys.get(name, name): v for name, v in content.items() if name not in later or v != later[name]}


def digest(stage: Stage) -> str:
    """Return eight hex digits of the configuration, dependencies included."""
    # Keys sorted, so that the order in which a class declares its fields changes no folder.
    text = json.dumps(configuration(stage), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def folder_of(stage: Stage, root: Path) -> Path:
    """Return the folder of a stage's results, which need not exist yet."""
    return root / f"{stage.name}-{digest(stage)}"


def dependencies(value: Any) -> dict[str, Stage]:
    """Return the stages that a stage stands on: by field, `prompts.0` in a tuple, `methods.1.mask` in a field of a method."""
    stages: dict[str, Stage] = {}
    for f in fields(value):
        content = getattr(value, f.name)
        parts = (
            {f"{f.name}.{i}": part for i, part in enumerate(content)}
            if isinstance(content, tuple)
            else {f.name: content}
        )
        for name, part in parts.items():
            if isinstance(part, Stage):
                stages[name] = part
            # Methods hold stages too, as `SparseMask` holds the training that its mask is read from.
            elif is_dataclass(part) and not isinstance(part, type):
                stages |= {f"{name}.{inner}": stage for inner, stage in dependencies(part).items()}
    return stages


@dataclass(frozen=True)
class Finished:
    """A stage that is done, and its folder. What it left is asked for by type; what it did not leave is a ValueError."""

    stage: Stage
    folder: Path

    def inputs(self, loader: Loader | None = None) -> "Inputs":
        """Return what the stage itself stood on."""
        return Inputs.of(self.stage, self.folder.parent, loader)

    def weights(self) -> Path:
        """Return the folder of the whole model that the stage left."""
        return self._part(RunFolder(self.folder).model, "no whole model to go on from; with LoRA, leave merge on")

    def prompt(self) -> Path:
        """Return the folder of the prompt that the stage trained."""
        return self._part(RunFolder(self.folder).prompt, "no prompt; name a stage that trains one")

    def task(self) -> Path:
        """Return the folder of the task that the stage wrote."""
        return self._part(RunFolder(self.folder).data, "no data; name a stage that curates a task")

    def _part(self, path: Path, lacks: str) -> Path:
        if not path.is_dir():
            raise ValueError(f"{self.stage.name}: this stage left {lacks}")
        return path


class Inputs(dict[str, Finished]):
    """The finished stages that a stage stands on, by field: `inputs["start"].weights()`, `inputs["prompts.0"].prompt()`."""

    def __init__(
        self,
        finished: Mapping[str, Finished] = MappingProxyType({}),
        loader: Loader | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        super().__init__(finished)
        self.loader = loader or Loader()
        self.quiet = quiet  # no progress: this is a trial of a few steps or items

    @classmethod
    def of(cls, stage: Stage, root: Path, loader: Loader | None = None, *, quiet: bool = False) -> "Inputs":
        """Return the inputs of a stage whose dependencies are done below `root`."""
        finished = {name: Finished(s, folder_of(s, root)) for name, s in dependencies(stage).items()}
        return cls(finished, loader, quiet=quiet)

    def within(self, field: str) -> dict[str, Path]:
        """Return the folders of the stages in the fields of one part, such as `methods.1`, by the names of its fields."""
        prefix = f"{field}."
        return {name.removeprefix(prefix): made.folder for name, made in self.items() if name.startswith(prefix)}


def execute(stage: Stage, root: Path, loader: Loader | None = None, *, quiet: bool = False) -> Path:
    """Run what a stage depends on, then the stage, unless it is done already; returns its folder. Stages share `loader`'s model;
    `quiet` ones say no progress.

    Under `accelerate launch` every process comes here: training runs in all of them, and `run` decides what only one does.
    """
    for before in dependencies(stage).values():
        execute(before, root, loader, quiet=quiet)
    folder = folder_of(stage, root)
    folder.mkdir(parents=True, exist_ok=True)
    # Locked before the mark is looked at: a run that waited finds the stage done.
    with exclusive(folder):
        if (folder / MARK).exists():
            check(folder)
        else:
            began = time.time()
            stage.run(folder, Inputs.of(stage, root, loader, quiet=quiet))
            state = processes()
            state.wait_for_everyone()
            # Last, and in one move: a folder with a mark is complete, whenever the run is killed.
            if state.is_main_process:
                done = {"seconds": round(time.time() - began, 1), "files": _hashes(folder), **configuration(stage)}
                write_text(folder / MARK, json.dumps(done, indent=1))
            state.wait_for_everyone()
        if processes().is_main_process:
            stage.clear(folder)
    return folder


def check(folder: Path) -> None:
    """Compare the files of a finished stage with the hashes in its mark; a mark of an earlier version has none.

    Raises:
        ValueError: a file is gone, or is not as the stage left it.
    """
    try:
        files = dict(json.loads((folder / MARK).read_text(encoding="utf-8")).get("files", {}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{folder / MARK}: is damaged; remove {folder} and give the command again") from None
    for name, expected in files.items():
        path = folder / name
        if not path.exists() or _hash(path) != expected:
            what = "is not as the finished stage left it (damaged, or written to)" if path.exists() else "is gone"
            raise ValueError(
                f"{path}: {what}; remove {folder} and give the command again, so that this stage runs anew"
            )


def _hashes(folder: Path) -> dict[str, str]:
    """Return the hash of each file that a stage left, but for what is removed later (`PASSING`)."""
    left = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    left = [p for p in left if p.name != MARK and not any(fnmatch(p.parts[0], name) for name in PASSING)]
    return {p.as_posix(): _hash(folder / p) for p in left}


def _hash(path: Path) -> str:
    """Return 16 hex digits of a file's content; of one that did not change since, as its size and time say, from memory."""
    # A run asks for the same stages again and again, and weights of gigabytes take seconds to read.
    status = path.stat()
    key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _HASHES_OF_FILES:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        _HASHES_OF_FILES[key] = digest.hexdigest()[:16]
    return _HASHES_OF_FILES[key]


@contextmanager
def exclusive(folder: Path, waiting: str = "") -> Iterator[None]:
    """Hold a folder for one run while others wait, and say so where `waiting` has words. The processes of one launch share the work."""
    if fcntl is None or processes().num_processes > 1:
        yield
        return
    with (folder / LOCK).open("w", encoding="utf-8") as file:
        # Tried first without waiting, because only who has to wait should say so. The system lifts the lock of a killed run.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(f"{folder}: {waiting}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        # The lock is this machine's; the lease is known on all that share the disk.
        with leased(folder, waiting):
            yield

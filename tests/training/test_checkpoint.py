"""Checkpoints that a kill, a full disk or a damaged disk left: what is whole is gone on from, and nothing else is."""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast import atomic_files
from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.stages.stage import MARK, execute
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.training import checkpoint
from holdfast.training.settings import TrainSettings
from tests.training import tiny

ROOT = Path(__file__).parents[2]
PARAMETERS, STATE, PROGRESS = checkpoint.FILES


class Killed(BaseException):
    """Stands for SIGKILL: no handler of errors sees it."""


class Stop(Method):
    """The process dies in the step after so many."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def after_backward(self, model: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def cut(name: str, keep: float) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / name, int(keep * (folder / name).stat().st_size))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "parameters cut": cut(PARAMETERS, 0.5),
    "parameters empty": cut(PARAMETERS, 0),
    "parameters gone": lambda folder: (folder / PARAMETERS).unlink(),
    "parameters of another model": lambda folder: checkpoint.write_file({"w": torch.zeros(2)}, folder / PARAMETERS),
    "state cut": cut(STATE, 0.5),
    "state empty": cut(STATE, 0),
    "state is text": lambda folder: (folder / STATE).write_text("no zip"),
    "state gone": lambda folder: (folder / STATE).unlink(),
    "progress empty": cut(PROGRESS, 0),
    "progress cut": cut(PROGRESS, 0.5),
    "progress of nothing": lambda folder: (folder / PROGRESS).write_text("{}"),
    "progress no object": lambda folder: (folder / PROGRESS).write_text("[]"),
    "progress of another step": lambda folder: (folder / PROGRESS).write_text(
        re.sub(r'"step": \d+', '"step": 99', (folder / PROGRESS).read_text())
    ),
    "best gone": lambda folder: checkpoint.best_path(folder.parent, 3).unlink(),
    "best cut": lambda folder: os.truncate(checkpoint.best_path(folder.parent, 3), 50),
    "all files gone": lambda folder: [path.unlink() for path in folder.iterdir()],
}


def trained(folder: Path, *methods: Method, **settings: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    run = tiny.trainer(folder, Full(), *methods, dropout=0.1, **settings)
    run.quiet = False
    run.validate = lambda model: float(len(tiny.losses(folder)) == 3)
    run.train()
    return tiny.losses(folder), tiny.weights(run)


def same(one: tuple[list[float], dict], other: tuple[list[float], dict]) -> bool:
    return one[0] == other[0] and all(torch.equal(weight, other[1][name]) for name, weight in one[1].items())


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_said_and_training_begins_again(
    tmp_path: Path, capsys: pytest.CaptureFixture, damage: Callable[[Path], object]
) -> None:
    """The same run as without it. Before: a traceback, or the word Aborted, each time that the command was given again."""
    whole = trained(tmp_path / "whole", Method())
    with pytest.raises(Killed):
        trained(tmp_path / "killed", Stop(4))
    damage(tmp_path / "killed" / "checkpoint-3")
    capsys.readouterr()
    torch.manual_seed(99)
    assert same(trained(tmp_path / "killed", Method()), whole)
    said = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert len(said) == 1
    assert said[0].startswith("model: checkpoint-3 is damaged (")
    assert "begins again" in said[0]


# The best weights are of both checkpoints: without them both are damaged.
ONE = {name: damage for name, damage in DAMAGE.items() if not name.startswith("best")}


@pytest.mark.parametrize("damage", ONE.values(), ids=ONE)
def test_of_a_damaged_checkpoint_the_one_before_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture, damage: Callable[[Path], object]
) -> None:
    """With the default setting. The bugs: older ones removed, all of them kept, or a damaged one counted among those kept."""
    whole = trained(tmp_path / "whole", Method(), steps=12, save_every=2)
    with pytest.raises(Killed):
        trained(tmp_path / "killed", Stop(7), steps=12, save_every=2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "killed")] == ["checkpoint-6", "checkpoint-4"]
    damage(tmp_path / "killed" / "checkpoint-6")
    capsys.readouterr()
    torch.manual_seed(99)
    steps: list[list[str]] = []

    class Look(Method):
        def after_step(self, model: Any) -> None:
            steps.append([path.name for path in checkpoint.checkpoints(tmp_path / "killed")])

    assert same(trained(tmp_path / "killed", Look(), steps=12, save_every=2), whole)
    assert "checkpoint-6 is damaged" in capsys.readouterr().err
    assert len(steps) == 8, "from step 4 on"
    # A whole one is always there beside the damaged one, which its own step replaces.
    assert steps[0] == ["checkpoint-6", "checkpoint-4"]
    assert steps[2] == ["checkpoint-6", "checkpoint-4"]
    assert steps[-1] == ["checkpoint-10", "checkpoint-8"]


def test_the_one_before_is_gone_on_from_where_there_is_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A kill between the new one's rename and the old one's removal leaves two."""
    whole = trained(tmp_path / "whole", Method())
    with pytest.raises(Killed):
        trained(tmp_path / "killed", Stop(4))
    newer = shutil.copytree(tmp_path / "killed" / "checkpoint-3", tmp_path / "killed" / "checkpoint-5")
    (newer / STATE).write_bytes(b"")
    steps: list[int] = []

    class Count(Method):
        def after_step(self, model: Any) -> None:
            steps.append(1)

    assert same(trained(tmp_path / "killed", Count()), whole)
    assert len(steps) == 3
    assert "checkpoint-5 is damaged" in capsys.readouterr().err


def test_a_folder_of_a_like_name_is_neither_read_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-old").mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    trained(tmp_path, Method())
    checkpoint.clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-old", "checkpoint-7", "log.jsonl"}


def test_another_number_of_processes_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The weights do not depend on who draws what as long as nothing is drawn: tests/training/test_processes.py has two real ones."""
    whole, honest = trained(tmp_path / "whole", Method()), checkpoint.random_state
    monkeypatch.setattr("holdfast.training.loop.gather_object", lambda states: [honest(), honest()])
    with pytest.raises(Killed):
        trained(tmp_path / "killed", Stop(4), token_budget=4096)
    monkeypatch.undo()
    assert same(trained(tmp_path / "killed", Method()), whole)
    assert "checkpoint-3 was written by 2 processes and is continued by 1" in capsys.readouterr().err


def test_a_process_that_was_not_there_before_draws_numbers_of_its_own() -> None:
    states = [checkpoint.random_state()]
    drawn = []
    for process in (0, 1, 2):
        checkpoint.restore_random_state_of(process, states)
        drawn.append(float(torch.rand(())))
    assert len(set(drawn)) == 3


# Kills before each change of a file system.


@contextmanager
def killed_at(number: int, monkeypatch: pytest.MonkeyPatch):
    """Before the `number`-th rename, removal or new folder of Python's own the process dies, and all after it are not done."""
    done = [0]

    def wrap(honest: Callable) -> Callable:
        def operation(*args: Any, **options: Any) -> Any:
            done[0] += 1
            if done[0] >= number:
                raise Killed
            return honest(*args, **options)

        return operation

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink", "rmdir", "mkdir", "rename"):
            patched.setattr(os, name, wrap(getattr(os, name)))
        with suppress(Killed):
            yield


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    for split in ("train", "test", "validation"):
        text = "".join(f'{{"input": "w{i} {split}", "target": "w{i + 1}"}}\n' for i in range(3, 9))
        (tmp_path / "task").mkdir(exist_ok=True)
        (tmp_path / "task" / f"{split}.jsonl").write_text(text)
    monkeypatch.setattr("holdfast.models.resolve.load", lambda *args, **options: tiny.pretrained())
    settings = TrainSettings(steps=4, batch_size=2, save_every=2, dropout=0.1)
    return Train("model", "tiny", (TaskRef(str(tmp_path / "task"), "target"),), (Full(),), settings)


def content(folder: Path) -> dict[str, Any]:
    """What a finished stage left, but for times."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (MARK, ".lock", "log.jsonl")]
    found: dict[str, Any] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return found | {"losses": tiny.losses(folder)}


def test_a_kill_before_any_change_of_a_file_leaves_a_stage_that_finishes_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Train
) -> None:
    """Before, three places inside the removal of the last checkpoint made the stage fail each time, for ever."""
    expected = content(execute(stage, tmp_path / "whole"))
    assert not any("checkpoint" in name or "best" in name for name in expected)
    number, ended = 0, False
    while not ended:
        number += 1
        root = tmp_path / str(number)
        with killed_at(number, monkeypatch):
            execute(stage, root)
            ended = True
        assert content(execute(stage, root)) == expected, number
    assert number > 30


SIGKILLED = """
import sys
from pathlib import Path
from holdfast.methods.full import Full
from holdfast.tasks.task_set import TaskRef
from holdfast.training import checkpoint
from tests.training import tiny
run = tiny.trainer(Path(sys.argv[1]), Full(), steps=6, save_every=1, dropout=0.1)
run.train()
checkpoint.clear(run.folder)
print("cleared", flush=True)
"""


def test_a_process_killed_while_it_writes_checkpoints_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    """SIGKILL, as soon as anything of the second checkpoint is there."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def start(folder: Path) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", SIGKILLED, str(folder)], env=environment, cwd=ROOT)

    tiny.trainer(tmp_path / "whole", Full(), steps=6, save_every=1, dropout=0.1).train()
    killed = start(tmp_path / "killed")
    deadline = time.time() + 60
    while not list((tmp_path / "killed").glob("checkpoint-2*")) and time.time() < deadline and killed.poll() is None:
        time.sleep(0.0005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    assert start(tmp_path / "killed").wait(120) == 0
    assert tiny.losses(tmp_path / "killed") == tiny.losses(tmp_path / "whole")


# A full disk.


def smaller_files(limit: int) -> Any:
    """Files may grow to so many bytes: the writers of libraries meet an error of the system itself."""

    @contextmanager
    def within():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    return within()


@pytest.mark.parametrize("limit", [10_000, 150_000], ids=["parameters", "state"])
def test_a_file_that_cannot_grow_is_one_error_of_the_system_and_the_run_goes_on_from_what_was_whole(
    tmp_path: Path, limit: int
) -> None:
    """Of 71 kB of parameters and 147 kB of states one or the other: safetensors' writer, and torch's of zip files."""
    whole = trained(tmp_path / "whole", Method())
    with smaller_files(limit), pytest.raises(OSError, match=r"large|put/output") as caught:
        trained(tmp_path / "full", Method())
    assert "checkpoint-3" in str(caught.value.filename) or "best-3" in str(caught.value.filename)
    assert not [path for path in (tmp_path / "full").iterdir() if path.suffix == ".part"]
    assert same(trained(tmp_path / "full", Method()), whole)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 256 KiB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # A writer that failed may hold its file a little longer.


@pytest.mark.parametrize("taken", [100_000, 200_000], ids=["state", "parameters"])
def test_a_full_disk_is_said_and_with_more_room_the_run_is_the_same(
    tmp_path: Path, small_disk: Path, taken: int
) -> None:
    (small_disk / "taken").write_bytes(bytes(taken))
    with pytest.raises(OSError, match="No space left") as caught:
        trained(small_disk / "run", Method())
    assert caught.value.errno == errno.ENOSPC
    shutil.copytree(small_disk / "run", tmp_path / "run")
    assert same(trained(tmp_path / "run", Method()), trained(tmp_path / "whole", Method()))


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (Exception("Error while serializing: I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), errno.ENOSPC),
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
    ],
    ids=["safetensors", "zip", "plain"],
)
def test_what_writers_say_of_a_full_disk_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, number: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 0))  # pyright: ignore[reportAttributeAccessIssue]

    def write() -> None:
        with atomic_files.whole(tmp_path / "x") as part:
            part.write_text("half")
            raise error

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "x"))
    assert not list(tmp_path.iterdir())


def test_other_errors_of_a_writer_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), atomic_files.whole(tmp_path / "x"):
        raise RuntimeError("shapes do not match")

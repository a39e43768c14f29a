"""An evaluation that is killed goes on with the task and shots it was at, and says in a log file how far it is."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.evaluation import answer_files
from holdfast.stages import evaluate
from holdfast.stages.evaluate import Evaluate
from holdfast.stages.stage import MARK, execute
from holdfast.tasks.task_set import TaskRef
from tests.recipes.worlds import write_world

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None)
    settings = (folder / "copy" / "task.yaml").read_text()
    (folder / "copy" / "task.yaml").write_text(settings + 'name: "x[/b]/y"\n')
    return folder


def stage(world: Path) -> Evaluate:
    return Evaluate(
        "base",
        model=str(world / "model"),
        tasks=(TaskRef(str(world / "pick")), TaskRef(str(world / "copy"), "general")),
        shots=(0, 1, 2),
        limit=6,
    )


def test_a_killed_evaluation_goes_on_where_it_was_and_writes_the_same_bytes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = (execute(stage(world), tmp_path / "whole") / "outputs.jsonl").read_bytes()
    asked: list[tuple[str, int]] = []
    real, loads = answer_files.in_parts, []

    def in_parts(model: Any, task: Any, asking: Any, **target: Any) -> Any:
        if len(asked) == dies:
            raise KeyboardInterrupt
        asked.append((task.name, asking.shots))
        return real(model, task, asking, **target)

    monkeypatch.setattr(answer_files, "in_parts", in_parts)
    load = Evaluate.load
    monkeypatch.setattr(Evaluate, "load", lambda self, inputs: loads.append(1) or load(self, inputs))
    for dies in (0, 2, 3, 6):
        with pytest.raises(KeyboardInterrupt) if dies < 6 else open(os.devnull):
            execute(stage(world), tmp_path / "killed")
        (folder,) = (tmp_path / "killed").glob("base-*")
        assert (folder / "outputs.jsonl").exists() == (folder / MARK).exists() == (dies == 6)
    assert asked == [(name, shots) for name in ("pick", "x[/b]/y") for shots in (0, 1, 2)], "each was asked once"
    assert (folder / "outputs.jsonl").read_bytes() == expected
    assert not (folder / "parts").exists()
    assert len(loads) == 4
    execute(stage(world), tmp_path / "killed")
    assert len(loads) == 4


def test_what_was_killed_after_its_last_answer_needs_no_model(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = execute(stage(world), tmp_path)
    expected = (folder / "outputs.jsonl").read_bytes()
    (folder / MARK).unlink()
    monkeypatch.setattr(evaluate.shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        execute(stage(world), tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(Evaluate, "load", lambda *_: pytest.fail("nothing is left to ask"))
    assert (execute(stage(world), tmp_path) / "outputs.jsonl").read_bytes() == expected


def test_a_tune_in_a_log_file_says_what_is_asked_and_how_long_it_takes(world: Path, tmp_path: Path) -> None:
    """Through the command line, with stderr in a file, and a name that rich would read as markup."""
    arguments = ["tune", "model", "pick", "--method", "full", "--general", "copy", "--shots", "0,1", "--limit", "5"]
    settings = ["--set", "model.steps=2", "--set", "model.save_every=2", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-W", "ignore", "-m", "holdfast", *arguments, *settings]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(
            command, cwd=world, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, timeout=120, check=False
        )
    lines = (tmp_path / "log").read_text().splitlines()
    assert done.returncode == 0, lines
    assert "x[/b]/y" in done.stdout
    for task in ("pick", "x[/b]/y"):  # the target and the general task are two stages
        assert f"base: {task}, 0 shots: 5 items; part 1 of 2" in lines
        second = f"base: {task}, 1 shot: 5 items; part 2 of 2; about "
        assert any(line.startswith(second) and re.search(r"about \d+ (s|min) left$", line) for line in lines), lines

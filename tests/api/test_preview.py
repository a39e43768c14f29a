"""`tune --plan` says what the run then does, and leaves nothing behind."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from holdfast.api.preview import preview
from holdfast.api.request import plan_run, read_request
from holdfast.api.tune import tune
from holdfast.recipes.assignments import nested
from holdfast.recipes.pipeline import Techniques
from holdfast.results.scores import read_outputs
from tests.recipes.worlds import QUICK, write_world

ROOT = Path(__file__).parents[2]


def test_the_plan_counts_the_steps_and_items_that_the_run_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    monkeypatch.chdir(tmp_path)
    given = (world / "model", world / "pick")
    request, tasks = read_request(*given, Techniques("promot"), world / "copy", limit=6, settings=nested(QUICK))
    planned = preview(plan_run(request, tasks, tmp_path / "none"))
    assert [path.name for path in tmp_path.iterdir()] == ["world"], "nothing is left behind"
    assert all(stage.seconds and stage.seconds > 0 for stage in planned.stages)
    assert planned.memory > 50 * 2**20, "torch alone takes more"
    run = tune(*given, "promot", world / "copy", limit=6, out=tmp_path / "run", **QUICK)
    logs = (run.folder / "log.jsonl").read_text().splitlines()
    taken = Counter(line.split('"')[3] for line in logs if '"loss"' in line)
    assert {stage.name: stage.steps for stage in planned.stages} == dict(taken)
    answers = Counter[str]()
    for path in (run.folder / "stages").glob("*/outputs.jsonl"):
        answers[path.parent.name.rpartition("-")[0]] += len(read_outputs(path.parent))
    expected = Counter[str]()
    for evaluation in planned.evaluations:
        # The labels' probability is asked of the base's own items, whose answers lie with these.
        expected[evaluation.name.replace("label-mass-base", "evaluate-base")] += evaluation.items
    assert expected == answers


def test_the_command_prints_the_plan_and_stops(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "holdfast", "tune", "lab", "lab:elicit-sentiment", "--plan"]
    options = [
        "--general",
        "lab:kind",
        "--limit",
        "2",
        "--shots",
        "0",
        "--set",
        "prompt.steps=7",
        "--set",
        "model.steps=5",
    ]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "evaluate-tuned-off" in done.stdout
    assert "prompt_tuning" in done.stdout
    assert "Nothing was written" in done.stdout
    assert not (tmp_path / "runs").exists()

"""`tune --plan` says what the run then does, and leaves nothing behind."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from holdfast.api.cautions import cautions
from holdfast.api.preview import PlannedEvaluation, PlannedStage, Preview, passes, preview
from holdfast.api.request import Request, plan_run
from holdfast.api.tune import tune
from holdfast.cli.plan import show
from holdfast.recipes.assignments import nested
from holdfast.recipes.techniques import Techniques
from holdfast.results.scores import read_outputs
from tests.recipes.worlds import QUICK, write_world

ROOT = Path(__file__).parents[2]


def test_the_plan_counts_the_steps_and_items_that_the_run_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    monkeypatch.chdir(tmp_path)
    given = (world / "model", world / "pick")
    asked_for = (str(given[0]), (str(given[1]),), Techniques("promot"), (str(world / "copy"),))
    request, tasks = Request(*asked_for, limit=6, settings=nested(QUICK)).read()
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


def test_fewer_rows_than_a_batch_and_absurd_settings_are_warned_of(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    (world / "copy" / "train.jsonl").write_text('{"input": "w4", "target": "w4"}\n')
    model = str(world / "model")

    def warned(task: str, **fields: object) -> list[str]:
        targets = (str(world / task),)
        request = Request(model, targets, Techniques("promot"), (), shots=(0,), settings=nested({**QUICK, **fields}))
        return cautions(plan_run(*request.read(), tmp_path / "none"))

    assert not [text for text in warned("pick") if "training row" in text or "usual" in text]
    (one,) = [text for text in warned("copy") if "training row" in text]
    assert one.startswith("copy: 1 training row (8 for validation), and a step takes ")
    few = warned("pick", **{"model.batch_size": 25, "model.learning_rate": 3})
    assert (
        "pick: 24 training rows (8 for validation), and a step takes 25, so every step trains on the same ones again; add rows, or --set "
        in few[1]
    )
    assert few[1].endswith("model.batch_size=12")
    assert few[0].startswith("model.learning_rate=3: far above what is usual for full")


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
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the tuned model, prompt off" in done.stdout
    assert done.stderr == "", "where nobody watches, the plan alone is said: no progress of sixty short trials"
    assert "prompt_tuning" in done.stdout
    assert "Nothing was written" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_plan_ends_with_what_makes_its_numbers_worthless(tmp_path: Path) -> None:
    """The lab's model knows no English; the bug: this stood among sixty lines of progress, and who read the plan did not see it."""
    lines = [json.dumps({"input": f"the film {i} was lovely", "target": "upwards"}) for i in range(8)]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    request, tasks = Request(
        "lab", (str(tmp_path),), Techniques("promot"), ("none",), limit=2, settings=nested(QUICK)
    ).read()
    plan = plan_run(request, tasks, tmp_path / "none")
    few, copied, *_, unread = cautions(plan)
    assert "7 training rows" in few
    assert "8 of 8 test questions stand in the training or validation data" in copied
    assert "lab has no token for" in unread
    assert "'film'" in unread
    # Of what should be kept it is said too, in one line however many tasks it is true of.
    request, tasks = Request("lab", ("lab:kind",), Techniques("promot"), ("everyday",), settings=nested(QUICK)).read()
    (general,) = cautions(plan_run(request, tasks, tmp_path / "none"))
    assert "more: lab has no token for many words of what should be kept" in general


def test_a_plan_of_many_passes_over_few_rows_says_how_many_and_the_steps_of_ten(tmp_path: Path) -> None:
    lines = [json.dumps({"input": f"the film {i} was lovely", "target": "upwards"}) for i in range(20)]
    (tmp_path / "few.jsonl").write_text("\n".join(lines))
    settings = {"prompt.steps": 400, "model.steps": 40, "prompt.length": 2}

    def said(**changed: int) -> list[str]:
        fields = nested(settings | changed)
        asked = Request("lab", (str(tmp_path / "few.jsonl"),), Techniques("promot"), ("none",), settings=fields)
        return passes(plan_run(*asked.read(), tmp_path / "none"))

    # Of 20 rows 16 train: 400 and 40 steps of 16 are as many passes.
    (line,) = said()
    assert line == "prompt passes over the 16 training rows about 400 times; --set prompt.steps=10 would be 10 passes"
    (line,) = said(**{"model.steps": 60, "model.batch_size": 32})
    assert line.endswith(
        "model passes over the 16 training rows about 120 times; --set prompt.steps=10 --set model.steps=5 would be 10 passes"
    )
    assert said(**{"prompt.steps": 50}) == []


def test_who_has_no_limit_is_told_of_the_time_that_it_would_save(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    evaluations = [PlannedEvaluation("evaluate-base", "the base", 2, (0, 1), 8000, 400, 4000.0)]
    stage = PlannedStage("model", "full", 200, 16, 60.0)
    planned = Preview([stage], evaluations, 1.0, 2**30, ["pick: rows repeat"])
    show(planned, None)
    printed = capsys.readouterr()
    assert "Sooner: --limit 100 asks 400 items, about 3 min" in printed.out
    assert max(map(len, printed.out.splitlines())) <= 80
    assert printed.err == "holdfast: pick: rows repeat\n"
    show(planned, 100)
    assert "Sooner" not in capsys.readouterr().out

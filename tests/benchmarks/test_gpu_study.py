"""The GPU study's shell: what it plans, what it does when the time is up, what it writes. The study itself is `holdfast study`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import gpu_study
from holdfast.lab.fewshot import TARGETS


def test_its_targets_are_kept_out_of_pretraining_and_its_general_tasks_are_not() -> None:
    assert set(gpu_study.TARGETS) <= set(TARGETS)
    assert not {name.rpartition("/")[2] for name in gpu_study.GENERAL} & set(TARGETS)


@pytest.mark.parametrize("small", [False, True])
def test_its_plan_is_a_study(small: bool) -> None:
    studies: Any = pytest.importorskip("holdfast.studies.plan", reason="the study runner is not in this checkout")
    given = yaml.safe_load(yaml.safe_dump(gpu_study.plan(Path("model"), Path("tasks"), small)))
    arms = studies.Plan(**given).resolved()
    assert len(arms) == (3 if small else 7)
    assert arms[0].method == "full"
    assert all(arm.settings.get("model.steps", arm.settings.get("prompt.steps")) for arm in arms)


def test_a_command_that_takes_too_long_is_interrupted_and_everything_is_noted(tmp_path: Path, monkeypatch) -> None:
    """With what it started: a child that outlived it would go on using the GPU."""
    monkeypatch.setattr(gpu_study, "LAST_WORDS", 5)
    clock = gpu_study.Clock(tmp_path / "calls.jsonl", float("inf"))
    assert clock.run("quick", [sys.executable, "-S", "-c", "raise SystemExit(3)"]) == 3
    clock.until = 0.0
    assert clock.run("slow", ["sh", "-c", f"sleep 60 & echo $! > {tmp_path / 'child'}; wait"]) is None
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [(call["what"], call["code"]) for call in calls] == [("quick", 3), ("slow", None)]
    assert all(call["seconds"] < 30 for call in calls)


def test_it_goes_on_where_it_stopped_and_writes_one_file(tmp_path: Path, monkeypatch, capsys) -> None:
    codes: list[int | None] = [0, None, 0]  # pretraining, a study that the time cut off, the rest of the study
    model, out = tmp_path / "out" / "pretraining" / "model", tmp_path / "out"

    def run(clock: gpu_study.Clock, what: str, command: list[str]) -> int | None:
        if what == "pretraining":
            assert "--small" not in command
            assert command[command.index("--commit") + 1] == "abc"
            model.mkdir(parents=True)
            (model / "manifest.json").write_text('{"steps": 3000}')
        code = codes.pop(0)
        if what == "study" and code == 0:
            run = out / "study" / "runs" / "rte--full--0"
            os.makedirs(run)
            score = {"variant": "base", "task": "sst2", "shots": 1, "metric": "accuracy", "value": 70.0}
            (run / "scores.jsonl").write_text(f"{json.dumps(score)}\n{json.dumps(score | {'variant': 'tuned'})}\n")
            (out / "study" / "study.jsonl").write_text('{"arm": "full"}\n{"arm": "promot"}\n')
        with clock.log.open("a") as file:
            file.write(json.dumps({"what": what, "seconds": 10.0, "code": code}) + "\n")
        return code

    monkeypatch.setattr(gpu_study.Clock, "run", run)
    monkeypatch.setattr(gpu_study.torch.cuda, "is_available", lambda: False)
    command = ["--tasks", str(tmp_path), "--corpus", str(tmp_path), "--out", str(out), "--commit", "abc"]
    command += ["--results", str(tmp_path / "results")]
    gpu_study.main([*command, "--minutes", "1"])
    assert "goes on" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    gpu_study.main(command)
    assert not codes
    (path,) = (tmp_path / "results").iterdir()
    assert capsys.readouterr().out == f"{path}\n"
    found = json.loads(path.read_text())
    assert path.name.endswith("-cpu-study.json")
    assert found["commit"] == "abc"
    assert found["seconds"] == {"pretraining": 10.0, "study": 20.0}
    assert found["model"] == {"steps": 3000}
    assert found["base"] == {"sst2": {"1 shots, accuracy": 70.0}}
    assert [record["arm"] for record in found["study"]] == ["full", "promot"]

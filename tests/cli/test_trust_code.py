"""A file that somebody sends runs no code of theirs unless the user says so."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import holdfast
from holdfast.api import tune as runs
from holdfast.api.analyse import analyse_run
from holdfast.api.evaluate import default_tasks
from holdfast.cli.app import app
from holdfast.playground.bench import opened
from tests.recipes.worlds import write_world

MINE = """
from pathlib import Path
from holdfast.methods.full import Full

Path(__file__).with_name("ran").write_text("")

class Mine(Full):
    pass
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_world(tmp_path, pick=["w3", "w4"])
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def called(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_a_configuration_runs_the_code_that_it_names_only_where_that_is_trusted(world: Path) -> None:
    """The bug: whoever repeated a run that somebody had sent ran their program."""
    method = f"{world / 'mine.py'}:Mine"
    fields: dict[str, Any] = {"model.steps": 1}
    run = holdfast.tune(world / "model", world / "pick", method, shots=(0,), out=world / "run", **fields)
    (world / "ran").unlink()
    config = run.folder / "config.yaml"
    with pytest.raises(ValueError, match="names code") as refused:
        runs.repeat(config)
    for attempt in (called("run", str(config)).exception, refused.value):
        assert isinstance(attempt, ValueError)
        assert str(attempt).startswith(f"{config}: names code that would run with your rights: {method}; ")
        assert "--trust-code" in str(attempt)
    assert not (world / "ran").exists()
    assert not (world / "run-repeat").exists()
    assert called("run", str(config), "--trust-code").exit_code == 0
    assert (world / "ran").exists()


@pytest.mark.parametrize("arms", [{"{}": None}, {"full+{}": None}, {"own": {"method": "{}", "model.steps": 1}}])
def test_a_plan_runs_the_code_that_it_names_only_where_that_is_trusted(world: Path, arms: dict[str, Any]) -> None:
    text = json.dumps(arms).replace("{}", f"{world / 'mine.py'}:Mine")
    path = world / "plan.yaml"
    path.write_text(
        yaml.safe_dump({"model": str(world / "model"), "arms": json.loads(text), "targets": [str(world / "pick")]})
    )
    result = called("study", str(path), "--out", str(world / "study"))
    assert isinstance(result.exception, ValueError)
    assert "plan.yaml: names code that would run with your rights: " in str(result.exception)
    assert not (world / "ran").exists()
    called("study", str(path), "--out", str(world / "study"), "--seeds", "1", "--trust-code")
    assert (world / "ran").exists()


def test_code_on_the_command_line_needs_no_further_word(world: Path) -> None:
    arguments = (
        "tune",
        str(world / "model"),
        str(world / "pick"),
        "--method",
        f"{world / 'mine.py'}:Mine",
        "--shots",
        "0",
    )
    result = called(*arguments, "--set", "model.steps=1", "--out", str(world / "run"))
    assert result.exit_code == 0, result.exception


def test_task_files_that_a_run_names_are_not_opened_unasked(world: Path) -> None:
    """A task of the harness in a folder may call functions of that folder."""
    fields: dict[str, Any] = {"model.steps": 1}
    run = holdfast.tune(world / "model", world / "pick", "full", shots=(0,), out=world / "run", **fields)
    path = run.folder / "config.yaml"
    path.write_text(yaml.safe_dump(run.config | {"task": f"harness:evil@{world}"}))
    calls = (
        lambda: runs.repeat(path),
        lambda: default_tasks(str(run.folder)),
        lambda: analyse_run(str(run.folder), ["weight_drift"]),
        lambda: opened(run.folder),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"config.yaml: names code that would run with your rights: harness:evil@"):
            call()

"""`--edit lines --set edit.alpha=sweep`: the dial is chosen on validation examples, with the curve in the run's folder and on its page."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from holdfast.api import tune as runs
from holdfast.api.tune import tune
from holdfast.cli.app import app
from holdfast.results.sweep import choose, read_sweep
from tests.recipes.worlds import QUICK, write_world

GIVEN: dict[str, Any] = {"shots": (0,), "limit": 4}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None)


def train(world: Path, name: str, method: str = "full", **options: Any) -> runs.Run:
    quick = {k: v for k, v in QUICK.items() if method != "full" or k.startswith("model.")}
    arguments: dict[str, Any] = GIVEN | quick | options
    return tune(world / "model", world / "pick", method, world / "copy", out=world / name, **arguments)


@pytest.fixture(scope="module")
def swept(world: Path) -> runs.Run:
    return train(world, "swept", "promot", edit="lines", **{"edit.alpha": "sweep", "edit.points": 3, "curve": 1})


def test_the_dial_is_measured_at_each_value_and_the_best_is_kept(world: Path, swept: runs.Run) -> None:
    points = read_sweep(swept.folder / "sweep.jsonl")
    assert [point.value for point in points] == [1.0, 0.5, 0.0]
    assert points[0].target == 1.0, "at 1 the edit is the tuned model"
    assert points[-1].general <= 1.0
    assert [point.value for point in points if point.chosen] == [choose(points).value]
    by_hand = train(world, "by-hand", "promot", edit="lines", curve=1, **{"edit.alpha": choose(points).value})
    assert (
        load_file(swept.folder / "model/model.safetensors").keys()
        == load_file(by_hand.folder / "model/model.safetensors").keys()
    )
    values = {(s.key, s.value) for s in swept.scores}
    assert values == {(s.key, s.value) for s in by_hand.scores}


def test_the_curve_stands_on_the_page_with_what_was_chosen(swept: runs.Run) -> None:
    page = swept.page.read_text()
    assert 'id="dial"' in page
    chosen = choose(read_sweep(swept.folder / "sweep.jsonl")).value
    assert f"Chosen: alpha = {chosen:g}" in page
    assert swept.config["stages"]["edit"] == {
        "alpha": "sweep",
        "beta": None,
        "weight": 2.0,
        "floor": None,
        "points": 3,
        "limit": 100,
    }


def test_nothing_of_the_trials_is_left(swept: runs.Run) -> None:
    (stage,) = (swept.folder / "stages").glob("edit-*")
    assert sorted(path.name for path in stage.iterdir()) == [".lock", "done.json", "model", "sweep.jsonl"]


def test_the_same_configuration_repeats_the_sweep(swept: runs.Run) -> None:
    again = runs.repeat(swept.folder / "config.yaml")
    assert [(s.key, s.value) for s in again.scores] == [(s.key, s.value) for s in swept.scores]


def test_an_edit_is_a_stage_whose_weights_are_those_of_holdfast_edit(world: Path, tmp_path: Path) -> None:
    edited = train(world, "edited", edit="lines", edit_={"alpha": 0.25})
    plain = train(world, "plain")
    arguments = ["edit", str(world / "model"), str(plain.folder), "--edit", "lines", "--set", "alpha=0.25"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "model")])
    assert result.exit_code == 0, result.output
    expected, found = (load_file(f / "model.safetensors") for f in (tmp_path / "model", edited.folder / "model"))
    assert all(found[name].equal(expected[name]) for name in expected)
    assert {(s.variant, s.task) for s in edited.scores} == {(s.variant, s.task) for s in plain.scores}
    assert {s.recipe for s in edited.scores} == {"full|edit=lines"}
    assert (edited.config["edit"], edited.config["stages"]["edit"]) == ("lines", {"alpha": 0.25, "beta": None})


def test_from_the_command_line(world: Path, tmp_path: Path) -> None:
    settings = ["model.steps=2", "edit.alpha=sweep", "edit.points=2", "edit.floor=0.5"]
    words = ["tune", str(world / "model"), str(world / "pick"), "--method", "full", "--general", str(world / "copy")]
    words += ["--edit", "lines", "--shots", "0", "--limit", "2", "--out", str(tmp_path / "run")]
    for setting in settings:
        words += ["--set", setting]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    points = read_sweep(tmp_path / "run" / "sweep.jsonl")
    assert len(points) == 2
    assert result.stderr.count(" of the general tasks; ") == 2
    assert f"edit.alpha={next(point.value for point in points if point.chosen):g} is chosen" in result.stderr


def test_a_general_task_without_validation_examples_cannot_choose(world: Path, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "test.jsonl").write_text((world / "copy" / "test.jsonl").read_text())
    given: dict[str, Any] = GIVEN | {"model.steps": 1, "edit.alpha": "sweep"}
    with pytest.raises(ValueError, match=r"edit.alpha=sweep: no general task has validation examples to choose by"):
        tune(world / "model", world / "pick", "full", tmp_path / "only", edit="lines", out=tmp_path / "run", **given)

"""`--set edit.alpha=sweep`: any dial is chosen on validation examples, with the curve in the run's folder and on its page."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from holdfast.api import tune as runs
from holdfast.api.tune import tune
from holdfast.cli.app import app
from holdfast.results.sweep import choose, read_sweep
from holdfast.stages.validation import Validation
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
    return train(world, "swept", "promot", edit="lines", **{"edit.alpha": "sweep", "sweep.points": 3, "curve": 1})


def test_the_dial_is_measured_at_each_value_and_the_best_is_kept(world: Path, swept: runs.Run) -> None:
    points = read_sweep(swept.folder / "sweep.jsonl")
    assert [point.settings for point in points] == [{"edit.alpha": value} for value in (1.0, 0.5, 0.0)]
    assert points[0].target == 1.0, "at 1 the edit is the tuned model"
    assert points[-1].general <= 1.0
    assert [point for point in points if point.chosen] == [choose(points)]
    by_hand = train(world, "by-hand", "promot", edit="lines", curve=1, **choose(points).settings)
    assert (
        load_file(swept.folder / "model/model.safetensors").keys()
        == load_file(by_hand.folder / "model/model.safetensors").keys()
    )
    values = {(s.key, s.value) for s in swept.scores}
    assert values == {(s.key, s.value) for s in by_hand.scores}


def test_the_curve_stands_on_the_page_with_what_was_chosen(swept: runs.Run) -> None:
    page = swept.page.read_text()
    assert 'id="dial"' in page
    assert f"Chosen: {choose(read_sweep(swept.folder / 'sweep.jsonl')).label}, with" in page
    assert swept.config["stages"]["edit"] == {"alpha": "sweep", "beta": None, "post": "alpha"}
    assert swept.config["stages"]["sweep"] == {"weight": 2.0, "floor": None, "points": 3, "trials": 30, "limit": 100}


def test_nothing_of_the_trials_is_left(swept: runs.Run) -> None:
    (stage,) = (swept.folder / "stages").glob("edit-*")
    assert sorted(path.name for path in stage.iterdir()) == [".lock", "done.json", "model"]
    assert not list((swept.folder / "stages").glob("trial*"))


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
    assert (edited.config["edit"], edited.config["stages"]["edit"]) == (
        "lines",
        {"alpha": 0.25, "beta": None, "post": "alpha"},
    )


def test_from_the_command_line(world: Path, tmp_path: Path) -> None:
    settings = ["model.steps=2", "edit.alpha=sweep", "sweep.points=2", "sweep.floor=0.5"]
    words = ["tune", str(world / "model"), str(world / "pick"), "--method", "full", "--general", str(world / "copy")]
    words += ["--edit", "lines", "--shots", "0", "--limit", "2", "--out", str(tmp_path / "run")]
    for setting in settings:
        words += ["--set", setting]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    points = read_sweep(tmp_path / "run" / "sweep.jsonl")
    assert len(points) == 2
    assert result.stderr.count(" of the general tasks; ") == 2
    chosen = next(point for point in points if point.chosen)
    floor = "most of the general tasks among those with" if chosen.target >= 0.5 else "none has"
    assert f"{chosen.label} is chosen, with {chosen.shares} (" in result.stderr
    assert f"{floor} 50 % of the target" in result.stderr


def test_a_general_task_without_validation_examples_cannot_choose(world: Path, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "test.jsonl").write_text((world / "copy" / "test.jsonl").read_text())
    given: dict[str, Any] = GIVEN | {"model.steps": 1, "edit.alpha": "sweep"}
    with pytest.raises(ValueError, match=r"edit.alpha=sweep: no general task has validation examples to choose by"):
        tune(world / "model", world / "pick", "full", tmp_path / "only", edit="lines", out=tmp_path / "run", **given)


def test_a_killed_search_goes_on_where_it_was(world: Path, swept: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    points = read_sweep(swept.folder / "sweep.jsonl")
    calls: list[int] = []
    real = Validation.values

    def killed(self: Validation, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *arguments)

    options: dict[str, Any] = {"edit": "lines", "edit.alpha": "sweep", "sweep.points": 3, "curve": 1}
    monkeypatch.setattr(Validation, "values", killed)
    with pytest.raises(KeyboardInterrupt):
        train(world, "killed", "promot", **options)
    assert len(read_sweep(world / "killed" / "sweep.jsonl")) == 2
    again = train(world, "killed", "promot", **options)
    assert len(calls) == 4
    assert [(p.settings, p.target, p.general) for p in read_sweep(again.folder / "sweep.jsonl")] == [
        (p.settings, p.target, p.general) for p in points
    ]


def test_a_decodings_dial_is_measured_through_the_decoding(world: Path) -> None:
    """The weights are those without a decoding, and the small model beside the large one is the base itself."""
    fusion = {"decode.small": str(world / "model"), "decode.experts": str(world / "model")}
    run = train(world, "decoded", decode="logits_fusion", **fusion, **{"decode.largest": "sweep:1,2"})
    points = read_sweep(run.folder / "sweep.jsonl")
    assert [point.settings for point in points] == [{"decode.largest": 1}, {"decode.largest": 2}]
    # An expert that is the small model changes nothing, at whatever weight.
    assert [point.target for point in points] == [1.0, 1.0]
    assert run.config["stages"]["decode"]["largest"] == "sweep:1,2"


def test_a_field_of_training_is_searched_and_the_run_is_that_with_the_chosen_value(world: Path) -> None:
    options: dict[str, Any] = {"model.steps": 2, "sweep.weight": 0.0}
    run = train(world, "trained", **options, **{"model.learning_rate": "sweep:1e-3,1.0"})
    points = read_sweep(run.folder / "sweep.jsonl")
    assert points[0].target == 1.0, "the first value is the reference"
    assert points[0].general >= points[1].general
    chosen = next(point for point in points if point.chosen)
    by_hand = train(world, "trained-by-hand", **{"model.steps": 2, **chosen.settings})
    assert {(s.key, s.value) for s in run.scores} == {(s.key, s.value) for s in by_hand.scores}


def test_several_dials_are_searched_by_optuna_the_same_every_time(world: Path) -> None:
    pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
    options: dict[str, Any] = {
        "edit": "breadcrumbs",
        "edit.density": "sweep",
        "edit.outliers": "sweep:0..0.5",
        "sweep.trials": 4,
    }
    first, second = (train(world, name, **options) for name in ("one", "two"))
    points = read_sweep(first.folder / "sweep.jsonl")
    assert points[0].settings == {"edit.density": 0.2, "edit.outliers": 0.1}, "the defaults come first"
    assert all(point.settings["edit.density"] + point.settings["edit.outliers"] <= 1 for point in points)
    assert len({point.label for point in points}) == 4
    assert points == read_sweep(second.folder / "sweep.jsonl")
    assert "Chosen: edit.density=" in first.page.read_text()


def test_several_targets_with_a_prompt_each_are_asked_behind_their_own(tmp_path: Path) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"], choose=["w5", "w6"], copy=None)
    run = tune(
        world / "model", [world / "pick", world / "choose"], "promot_sequential", world / "copy", out=tmp_path / "run",
        edit="wise_ft", **GIVEN | QUICK | {"edit.alpha": "sweep", "sweep.points": 2},
    )  # fmt: skip
    points = read_sweep(run.folder / "sweep.jsonl")
    assert points[0].target == 1.0
    assert set(points[0].tasks) == {"pick", "choose", "copy"}


def test_examples_that_changed_are_measured_anew(tmp_path: Path) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"], copy=None)
    options: dict[str, Any] = {"edit": "wise_ft", "edit.alpha": "sweep", "sweep.points": 2, "model.steps": 1}
    before = read_sweep(train(world, "run", **options).folder / "sweep.jsonl")
    with (world / "copy" / "validation.jsonl").open("a") as file:
        file.write('{"input": "w5 w9", "target": "w5"}\n')
    after = read_sweep(train(world, "run", **options).folder / "sweep.jsonl")
    assert len(before) == len(after) == 2
    assert {point.key for point in before}.isdisjoint({point.key for point in after})

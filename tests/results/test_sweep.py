"""The rule by which an edit's dial is chosen, by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.recipes.sweep import SweepRule
from holdfast.report.run import sweep_figure
from holdfast.results.sweep import SweepPoint, choose, read_sweep

# target and general as shares of the tuned model and of the base
POINTS = [
    SweepPoint({"edit.alpha": value}, target, general, {})
    for value, target, general in ((1.0, 1.0, 0.2), (0.5, 0.9, 0.5), (0.2, 0.6, 1.0), (0.0, 0.1, 1.0))
]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({}, 0.5),  # 2.2, 2.3, 2.2, 1.2
        ({"weight": 1.0}, 0.2),  # 1.2, 1.4, 1.6, 1.1
        ({"weight": 10.0}, 1.0),
        ({"floor": 0.95}, 1.0),
        ({"floor": 0.6}, 0.2),
        ({"floor": 0.0}, 0.2),  # of two that keep everything, the first
        ({"floor": 1.5}, 1.0),  # none reaches it: the best on the target
    ],
)
def test_the_chosen_value_follows_the_rule(rule: dict[str, float], value: float) -> None:
    assert choose(POINTS, **rule).settings == {"edit.alpha": value}


@pytest.mark.parametrize(
    ("floor", "reason"),
    [
        (None, "the largest 2 x target + general; sweep.weight and sweep.floor set another rule"),
        (0.6, "the most of the general tasks among those with 60 % of the target"),
        (1.5, "none has 150 % of the target, so the best on it"),
    ],
)
def test_a_choice_is_told_with_its_rule(floor: float | None, reason: str) -> None:
    assert SweepRule(floor=floor).reason(choose(POINTS, floor=floor).target) == reason


def test_metrics_count_as_shares_of_their_references() -> None:
    """The target of the tuned model, the general tasks of the base; a task that the base cannot do counts as it is."""
    measured = {"t": 0.4}, {"a": 0.3, "b": 0.1}
    point = SweepPoint.of({"edit.alpha": 0.5}, measured, ({"t": 0.8}, {"a": 0.6, "b": 0.0}))
    assert (point.target, point.general) == (0.5, pytest.approx(0.3))
    assert point.tasks == {"t": 0.4, "a": 0.3, "b": 0.1}


def test_without_a_sweep_there_is_no_figure(tmp_path: Path) -> None:
    assert read_sweep(tmp_path / "sweep.jsonl") == []
    assert sweep_figure.panel([]) is None


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    record = {"dial": "alpha", "value": 0.5, "target": 0.9, "general": 0.5, "tasks": {"t": 0.4}, "chosen": True}
    (tmp_path / "sweep.jsonl").write_text(json.dumps(record) + "\n")
    assert read_sweep(tmp_path / "sweep.jsonl") == [SweepPoint({"edit.alpha": 0.5}, 0.9, 0.5, {"t": 0.4}, chosen=True)]


@pytest.mark.parametrize(
    ("names", "values", "ticks", "x"),
    [
        (["edit.alpha"], [[1.0], [0.0], [0.5]], ["0", "0.5", "1"], [0.0, 0.5, 1.0]),
        (["model.learning_rate"], [[1e-5], [1e-3], [1e-4]], ["1e-05", "0.0001", "0.001"], [1.0, 2.0, 3.0]),
        (["model.loss_on"], [["last"], ["all"]], ["1", "2"], [1.0, 2.0]),
        (["edit.alpha", "edit.beta"], [[0.0, 1.0], [0.5, 0.2]], ["1", "2"], [1.0, 2.0]),
    ],
)
def test_values_stand_by_their_size_where_they_have_one(
    names: list[str], values: list[Any], ticks: list[str], x: list[float]
) -> None:
    points = [SweepPoint(dict(zip(names, value, strict=True)), 1.0, 0.5, {}) for value in values]
    figure = sweep_figure.panel(points)
    assert figure is not None
    assert figure[0].ticks == list(zip(x, ticks, strict=True))

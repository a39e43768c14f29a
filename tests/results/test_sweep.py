"""The rule by which an edit's dial is chosen, by hand."""

from pathlib import Path

import pytest

from holdfast.report.run import sweep_figure
from holdfast.results.sweep import SweepPoint, choose, read_sweep

# target and general as shares of the tuned model and of the base
POINTS = [
    SweepPoint("alpha", value, target, general, {})
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
    assert choose(POINTS, **rule).value == value


def test_metrics_count_as_shares_of_their_references() -> None:
    """The target of the tuned model, the general tasks of the base; a task that the base cannot do counts as it is."""
    measured = {"t": 0.4}, {"a": 0.3, "b": 0.1}
    point = SweepPoint.of("alpha", 0.5, measured, ({"t": 0.8}, {"a": 0.6, "b": 0.0}))
    assert (point.target, point.general) == (0.5, pytest.approx(0.3))
    assert point.tasks == {"t": 0.4, "a": 0.3, "b": 0.1}


def test_without_a_sweep_there_is_no_figure(tmp_path: Path) -> None:
    assert read_sweep(tmp_path / "sweep.jsonl") == []
    assert sweep_figure.panel([]) is None

"""Numbers as a reader sees them, and the facts of metrics behind them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from holdfast.results import units
from holdfast.results.metric_facts import SYMPTOMS, facts
from holdfast.results.metrics import METRICS, metric
from holdfast.results.scores import Score
from holdfast.results.statistics import paired, single
from holdfast.results.summary import Summary

SCORE = Score(
    "tuned", "off", "t", "general", 0, "accuracy", 0.5, 0.4, 0.6, 96, delta=0.0, delta_low=-0.01, delta_high=0.01
)


@pytest.mark.parametrize(
    ("metric", "value", "delta", "texts"),
    [
        ("accuracy", 0.5417, 0.021, ("54.2", "+2.1")),
        ("accuracy", 0.5, -0.0004, ("50.0", "0.0")),  # zero has no sign
        ("bleu", 31.25, -2.0, ("31.2", "-2.0")),
        ("rougeL", 41.84, 0.5, ("41.8", "+0.5")),
        ("perplexity", 12.3456, 0.31, ("12.3", "+0.31")),
        ("never_heard_of", 0.31459, 0.5, ("0.315", "+0.5")),  # no scale is assumed of what is not known
        ("accuracy", math.nan, None, ("n/a", "n/a")),
    ],
)
def test_numbers_are_shown_in_points_or_in_their_own_unit(
    metric: str, value: float, delta: float | None, texts: tuple[str, str]
) -> None:
    score = replace(SCORE, metric=metric, value=value, delta=delta)
    assert (units.shown(score), units.shown(score, "delta")) == texts


def test_the_facts_of_our_metrics_are_those_that_they_compute_with() -> None:
    assert {name: facts(name).scale for name in METRICS} == {name: m.scale for name, m in METRICS.items()}
    assert all(facts(name).symptom for name in SYMPTOMS)


@pytest.mark.parametrize(
    ("name", "scale"),
    [("acc_norm", 1.0), ("bleu_max", 100.0), ("bleu_acc", 1.0), ("rougeL_max", 100.0), ("bleu_diff", None), ("word_perplexity", None),
     ("exact_match,strict-match", 1.0), ("my_mark", None)],
)  # fmt: skip
def test_the_scale_of_a_recorded_metric_is_known_or_none_is_assumed(name: str, scale: float | None) -> None:
    assert facts(name).scale == scale
    assert metric(f"recorded:{name}").scale == scale


def test_recorded_marks_of_0_to_100_have_intervals_around_their_value() -> None:
    """The bug: every recorded mark was taken for a share, and the interval of a BLEU of 35 was [34, 1]."""
    rng = np.random.default_rng(0)
    base = rng.uniform(10, 60, (100, 1))
    tuned = base - rng.uniform(0, 10, (100, 1))
    for name in ("bleu_max", "my_mark"):
        m = metric(f"recorded:{name}")
        value, change = single(m, base), paired(m, base, tuned)
        assert 30 < value.low < value.value < value.high < 45
        error = float(base.std()) / 10
        assert value.high - value.low == pytest.approx(2 * 1.96 * error, rel=0.1)  # the bootstrap's noise is 2 %
        assert change.value == pytest.approx(float((tuned - base).mean()))
        assert -6 < change.low < change.value < change.high < -4


def test_marks_of_unknown_scale_that_never_differ_still_have_an_interval() -> None:
    m = metric("recorded:my_mark")
    value, change = single(m, np.full((20, 1), 7.0)), paired(m, np.full((20, 1), 7.0), np.full((20, 1), 7.0))
    assert value.low < 7.0 < value.high
    assert change.low < 0.0 < change.high
    assert all(math.isfinite(limit) for limit in (value.low, value.high, change.low, change.high))


def test_a_metric_of_unknown_scale_enters_no_mean_of_shares() -> None:
    def pair(task: str, name: str, base: float, tuned: float) -> list[Score]:
        old = Score("base", None, task, "general", 0, name, base, base - 0.1, base + 0.1, 50)
        new = replace(
            old, variant="tuned", value=tuned, delta=tuned - base, delta_low=tuned - base, delta_high=tuned - base
        )
        return [old, new]

    shares, unknown = pair("a", "acc", 0.5, 0.4), pair("b", "my_mark", 0.9, 0.1)
    change = Summary.of([*shares, *unknown]).general_change
    assert change == Summary.of(shares).general_change
    assert change is not None
    hundred = Summary.of([*shares, *pair("b", "bleu_max", 30.0, 20.0)]).general_change
    assert hundred is not None
    assert hundred.value == pytest.approx(-10.0)  # both fell by ten points

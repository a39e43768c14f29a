"""The words of a verdict, and the units behind them."""

import math
from dataclasses import replace

import pytest

from holdfast.results import units, verdict
from holdfast.results.scores import Score

SCORE = Score(
    "tuned", "off", "t", "general", 0, "accuracy", 0.5, 0.4, 0.6, 96, delta=0.0, delta_low=-0.01, delta_high=0.01
)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.12, -0.001, "lost"),
        (0.001, 0.12, "gained"),
        (-0.049, 0.05, "kept"),
        (-0.05, 0.01, "not resolvable"),
        (-0.01, 0.3, "kept"),  # a loss of the margin is excluded; whether there is a gain is another question
        (0.0, 0.04, "kept"),  # an interval that touches zero has not left it
        (-0.2, 0.0, "not resolvable"),
        (math.nan, 0.1, "not resolvable"),
    ],
)
def test_the_interval_of_the_change_decides_the_word(low: float, high: float, said: str) -> None:
    assert verdict.of_score(replace(SCORE, delta_low=low, delta_high=high)) == said


def test_the_margin_is_five_points_in_either_unit() -> None:
    bleu = replace(SCORE, metric="bleu", value=30.0, delta_low=-4.9, delta_high=4.9)
    assert verdict.of_score(bleu) == "kept"
    assert verdict.of_score(replace(bleu, delta_low=-5.1)) == "not resolvable"


def test_where_less_is_better_a_fall_is_a_gain() -> None:
    worse = replace(SCORE, metric="perplexity", value=12.0, delta=2.0, delta_low=1.0, delta_high=3.0)
    assert verdict.of_score(worse) == "lost"
    assert verdict.of_score(replace(worse, delta=-2.0, delta_low=-3.0, delta_high=-1.0)) == "gained"


def test_a_metric_without_an_upper_end_is_kept_within_five_per_cent_of_the_base() -> None:
    within = replace(
        SCORE, metric="perplexity", value=10.1, delta=0.1, delta_low=-0.2, delta_high=0.4
    )  # base 10: margin 0.5
    assert verdict.of_score(within) == "kept"
    assert verdict.of_score(replace(within, delta_high=0.6)) == "not resolvable"  # less is better: +0.6 is a loss


def test_a_verdict_that_was_given_when_measuring_is_kept_as_it_is() -> None:
    judged = replace(SCORE, delta=-0.1, delta_low=-0.2, delta_high=-0.01, verdict="not resolvable", needed=410)
    assert verdict.of_score(judged) == "not resolvable"
    assert verdict.long(judged) == "not resolvable at this n (about 410 would tell)"
    assert verdict.corrected([SCORE, judged])
    assert not verdict.corrected([SCORE])


def test_no_verdict_on_the_base_on_symptoms_and_without_an_interval() -> None:
    assert verdict.of_score(replace(SCORE, variant="base", delta=None, delta_low=None, delta_high=None)) is None
    assert verdict.of_score(replace(SCORE, metric="format_share", delta_low=0.3, delta_high=0.5)) is None
    assert verdict.of_score(replace(SCORE, delta_low=None)) is None


@pytest.mark.parametrize(
    ("metric", "value", "delta", "texts"),
    [
        ("accuracy", 0.5417, 0.021, ("54.2", "+2.1")),
        ("accuracy", 0.5, -0.0004, ("50.0", "0.0")),  # zero has no sign
        ("bleu", 31.25, -2.0, ("31.2", "-2.0")),
        ("rougeL", 41.84, 0.5, ("41.8", "+0.5")),
        ("perplexity", 12.3456, 0.31, ("12.3", "+0.31")),
        ("never_heard_of", 3.14159, 0.5, ("3.14", "+0.5")),  # it leaves 0 to 1, so it is shown in its own unit
        ("accuracy", math.nan, None, ("n/a", "n/a")),
    ],
)
def test_numbers_are_shown_in_points_or_in_their_own_unit(
    metric: str, value: float, delta: float | None, texts: tuple[str, str]
) -> None:
    score = replace(SCORE, metric=metric, value=value, delta=delta)
    assert (units.shown(score), units.shown(score, "delta")) == texts

"""The trade-off by hand: numbers that a reader can check in the head."""

import pytest

from holdfast.report.study.study_table import brief
from holdfast.results.study import Spread
from holdfast.results.tradeoff import Point, area, matched

COURSE = [Point(0, 40.0, 100.0), Point(10, 60.0, 80.0), Point(20, 55.0, 70.0), Point(40, 100.0, 50.0)]


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        (40.0, 100.0),
        (30.0, 100.0),  # reached before anything moved
        (50.0, 90.0),  # half way between the first two points
        (60.0, 80.0),  # at the first point that reaches it, and not where it is reached again after the dip
        (77.5, 60.0),  # half way from 55 to 100
        (100.0, 50.0),
        (100.1, None),
    ],
)
def test_what_is_kept_where_a_score_is_first_reached(level: float, kept: float | None) -> None:
    assert matched(COURSE, level) == (kept if kept is None else pytest.approx(kept))


def test_the_area_is_the_mean_over_target_scores() -> None:
    course = [Point(0, 0.0, 100.0), Point(1, 50.0, 80.0), Point(2, 100.0, 40.0)]
    assert area(course, 0.0, 100.0) == pytest.approx((90 + 60) / 2)
    assert area(course[:2], 0.0, 100.0) == pytest.approx(
        45.0
    )  # half of the scores are never reached: nothing is kept there
    assert area([Point(0, 80.0, 100.0)], 0.0, 100.0) == pytest.approx(80.0)  # stage 1 alone
    levels = [40 + 60 * (i + 0.5) / 3000 for i in range(3000)]
    fine = sum(matched(COURSE, level) or 0.0 for level in levels) / 3000
    assert area(COURSE, 40.0, 100.0) == pytest.approx(
        fine, abs=0.02
    )  # the grid's own error; a jump left out costs over 0.5


def test_nothing_is_claimed_where_retention_is_undefined() -> None:
    course = [Point(0, 0.0, None), Point(1, 50.0, None)]
    assert matched(course, 25.0) is None
    assert area(course, 0.0, 100.0) is None


def test_the_spread_over_seeds() -> None:
    found = Spread.of([1.0, 2.0, 3.0, None])
    assert found is not None
    assert found == Spread(2.0, 1.0, 3)
    assert found.interval == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=0.005)  # t of two degrees
    assert Spread.of([None]) is None
    assert Spread.of([1.0]) == Spread(1.0, None, 1)


def test_an_arm_is_named_briefly_only_where_nothing_is_lost() -> None:
    assert brief("promot@prompt.length=8,model.learning_rate=1e-3") == "promot\n length=8\n learning_rate=1e-3"
    assert brief("promot@prompt.steps=8,model.steps=9") == "promot@prompt.steps=8,model.steps=9"
    assert brief("full") == "full"

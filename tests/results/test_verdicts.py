"""What may be said about many scores together, on numbers that a reader can check in the head."""

from dataclasses import replace

import numpy as np
import pytest

from holdfast.results.metrics import metric
from holdfast.results.scores import Score
from holdfast.results.statistics import Estimate, paired
from holdfast.results.verdicts import holm, judge, noise_floor, retention, spread, summarise, verdict


def tuned(task: str, value: float, delta: float, half: float, p: float = 0.5, by: str = "accuracy", **more) -> Score:
    return Score(
        "tuned", "off", task, "general", 0, by, value, value - half, value + half, 100,
        delta=delta, delta_low=delta - half, delta_high=delta + half, p=p, **more,
    )  # fmt: skip


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1: 0.04, 0.06, 0.06 and 0.5; never falling, never above 1.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "said"),
    [
        (-0.10, -0.15, -0.05, 0.001, "lost"),
        (0.10, 0.05, 0.15, 0.001, "gained"),
        (-0.01, -0.03, 0.01, 0.4, "kept"),
        (0.04, -0.02, 0.10, 0.2, "kept"),  # at worst 2 points are lost: within the margin
        (-0.02, -0.10, 0.06, 0.6, "not resolvable"),
        (-0.10, -0.15, -0.05, 0.06, "not resolvable"),  # its p, corrected for many tasks, no longer tells
        (-0.008, -0.012, -0.004, 0.001, "kept"),  # real by the items, but below the floor of 1 point
        (-0.008, -0.06, -0.004, 0.001, "not resolvable"),
    ],
)
def test_the_word_for_a_change(value: float, low: float, high: float, p: float, said: str) -> None:
    word, needed = verdict(Estimate(value, low, high, 0.0, 100, p), margin=0.05, floor=0.01)
    assert word == said
    assert (needed is None) == (word != "not resolvable")


def test_the_items_needed_follow_from_the_square_root() -> None:
    # Half width 0.08 at n = 100. To exclude a loss of 0.05 at no change, 0.05 is needed: 100 * (8 / 5)^2 = 256.
    assert verdict(Estimate(0.0, -0.08, 0.08, 0.0, 100, 1.0), margin=0.05)[1] == 256
    # At -0.04, a half width of 0.04 shows the loss sooner than one of 0.01 would show its absence: 100 * 2^2.
    assert verdict(Estimate(-0.04, -0.12, 0.04, 0.0, 100, 1.0), margin=0.05)[1] == 400


def test_verdicts_are_corrected_within_one_role_and_one_state_of_the_prompt() -> None:
    alone = judge([tuned("a", 0.5, -0.1, 0.09, p=0.02)])
    assert [s.verdict for s in alone] == ["lost"]
    many = judge([tuned(t, 0.5, -0.1, 0.09, p=0.02) for t in "abc"])
    assert [s.verdict for s in many] == ["not resolvable"] * 3
    apart = judge([tuned("a", 0.5, -0.1, 0.09, p=0.02), replace(tuned("a", 0.5, -0.1, 0.09, p=0.02), prompt="on")])
    assert [s.verdict for s in apart] == ["lost", "lost"]


def test_only_what_judges_answers_gets_a_verdict() -> None:
    base = Score("base", None, "a", "general", 0, "accuracy", 0.5, 0.4, 0.6, 100)
    share = tuned("a", 0.5, -0.1, 0.02, p=0.001, by="format_share")
    assert [s.verdict for s in judge([base, share])] == [None, None]


def test_diagnostics_correct_no_verdict_on_a_general_task_and_count_in_no_mean() -> None:
    """The bug, planted: nine diagnostics in the family of one general task make its p of 0.02 one of 0.2."""
    lost = tuned("a", 0.6, -0.1, 0.05, p=0.02)
    disguised = [replace(tuned(f"leetspeak:{i}", 0.6, 0.0, 0.05, p=0.5), role="diagnostic") for i in range(9)]
    assert judge([lost, *disguised])[0].verdict == "lost"
    assert summarise([lost, *disguised]) == summarise([lost])
    planted = [lost, *(replace(score, role="general") for score in disguised)]
    assert judge(planted)[0].verdict != "lost"
    assert summarise(planted) != summarise([lost])


def test_a_margin_is_a_share_of_the_metrics_scale() -> None:
    (score,) = judge([tuned("a", 30, -1, 3, by="bleu")])
    assert score.verdict == "kept"  # at worst 4 of 100
    (score,) = judge([tuned("a", 30, -1, 3, by="bleu")], margin=0.02)
    assert score.verdict == "not resolvable"


def test_what_was_not_there_is_not_kept() -> None:
    """A loss of half of what the base has above chance must be excluded too."""
    words = [
        judge([tuned("a", value, 0.0, half, by=metric, chance=chance)])[0].verdict
        for value, half, metric, chance in (
            (0.60, 0.04, "accuracy", 0.5),  # 10 points above chance, half of them 5
            (0.55, 0.04, "accuracy", 0.5),
            (2.0, 0.9, "bleu", 0.0),
            (2.0, 1.1, "bleu", 0.0),
            (0.0, 0.01, "exact_match", 0.0),
        )
    ]
    assert words == ["kept", "not resolvable", "kept", "not resolvable", "not resolvable"]
    (nothing,) = judge([tuned("a", 0.4, 0.0, 0.01, chance=0.5)])
    assert (nothing.verdict, nothing.needed) == ("not resolvable", None), (
        "no number of items would show that it was kept"
    )


def test_the_summary_by_hand() -> None:
    scores = [
        tuned("a", 0.6, -0.2, 0.03, stderr=0.01, chance=0.5),
        tuned("b", 30.0, 10.0, 4.0, by="bleu", stderr=1.0),
    ]
    s = summarise(scores)
    assert s.tasks == 2
    assert (s.base, s.tuned, s.change) == pytest.approx((0.5, 0.45, -0.05))
    # Half widths 0.03 and 0.04 make 0.05, over two tasks 0.025.
    assert (s.low, s.high) == pytest.approx((-0.075, -0.025))
    assert (s.base_above, s.tuned_above) == pytest.approx(((0.6 + 0.2) / 2, (0.2 + 0.3) / 2))
    assert s.retention == pytest.approx(0.9)


def test_the_interval_of_a_mean_covers_it() -> None:
    """1,000 times five tasks of 60 items: MOVER over Tango's intervals."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        scores = []
        for task in "abcde":
            kind = rng.choice(4, 60, p=[0.5, 0.06, 0.10, 0.34])
            before, after = np.isin(kind, (0, 2)).astype(float), np.isin(kind, (0, 1)).astype(float)
            e = paired(metric("accuracy"), before[:, None], after[:, None])
            scores.append(replace(tuned(task, after.mean(), e.value, 0.0), delta_low=e.low, delta_high=e.high))
        s = summarise(scores)
        held += s.low <= -0.04 <= s.high
    assert (
        930 <= held <= 985
    )  # the noise of 1,000 studies is 7; intervals kept honest at n = 60 add up to a little too much


def test_nothing_measured_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="nothing to summarise"):
        summarise([Score("base", None, "a", "general", 0, "accuracy", 0.5, 0.4, 0.6, 100)])


def test_retention_needs_something_to_keep() -> None:
    assert retention(0.8, 0.6, 0.05) == pytest.approx(0.75)
    assert retention(0.55, 0.5, 0.05, chance=0.5) is None  # one standard error above chance
    assert retention(0.0, 0.0, 0.0) is None


def test_the_spread_over_seeds_and_over_demonstrations_is_kept_apart() -> None:
    # Seeds' means 1 and 3: sd sqrt(2). Within the seeds sd sqrt(2) and 0: mean variance 1.
    s = spread(np.array([[0.0, 2.0], [3.0, 3.0]]))
    assert (s.mean, s.over_seeds, s.over_demonstrations) == pytest.approx((2, 2**0.5, 1))
    s = spread(np.array([[1.0]]))
    assert (s.over_seeds, s.over_demonstrations) == (None, None)


def test_the_noise_floor_is_the_largest_difference_of_two_evaluations() -> None:
    first = [tuned("a", 0.5, 0, 0), tuned("b", 30, 0, 0, by="bleu"), tuned("c", 0.1, 0, 0)]
    second = [tuned("a", 0.51, 0, 0), tuned("b", 28, 0, 0, by="bleu"), tuned("d", 0.9, 0, 0)]
    assert noise_floor(first, second) == pytest.approx(0.02)
    assert noise_floor(first, first) == 0

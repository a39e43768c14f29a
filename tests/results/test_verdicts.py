"""What may be said about many scores together, on numbers that a reader can check in the head."""

import math
from dataclasses import replace

import numpy as np
import pytest

from holdfast.report.sentences import chance
from holdfast.results import policy
from holdfast.results.metrics import metric
from holdfast.results.scores import Score
from holdfast.results.statistics import Estimate, covariance, items_to_tell, paired
from holdfast.results.summary import Summary
from holdfast.results.verdicts import by_chance, corrected, holm, judge, long, margin_of, of_score, verdict, with_spread
from tests.results.test_policy import summary


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
        (-0.02, -0.10, 0.06, 0.6, "unclear"),
        (-0.10, -0.15, -0.05, 0.06, "unclear"),  # its p, corrected for many tasks, no longer tells
        (-0.008, -0.012, -0.004, 0.001, "kept"),  # real by the items, but below the floor of 1 point
        (-0.008, -0.06, -0.004, 0.001, "unclear"),
    ],
)
def test_the_word_for_a_change(value: float, low: float, high: float, p: float, said: str) -> None:
    word, needed = verdict(Estimate(value, low, high, 0.0, 100, p), margin=0.05, floor=0.01)
    assert word == said
    assert (needed is None) == (word != "unclear")


def test_the_items_needed_follow_from_the_square_root() -> None:
    # Half width 0.08 at n = 100. To exclude a loss of 0.05 at no change, 0.05 is needed: 100 * (8 / 5)^2 = 256.
    assert verdict(Estimate(0.0, -0.08, 0.08, 0.0, 100, 1.0), margin=0.05)[1] == 256
    # At -0.04, a half width of 0.04 shows the loss sooner than one of 0.01 would show its absence: 100 * 2^2.
    assert verdict(Estimate(-0.04, -0.12, 0.04, 0.0, 100, 1.0), margin=0.05)[1] == 400


def test_more_tasks_need_more_items_for_a_loss_and_no_more_for_what_is_kept() -> None:
    """A loss is called by an interval that is widened for the number of tasks: for ten by 2.807 / 1.96 (Bonferroni's quantiles)."""
    lost, kept = Estimate(-0.04, -0.12, 0.04, 0.0, 100), Estimate(0.0, -0.08, 0.08, 0.0, 100)
    assert items_to_tell(lost, kept=-0.05, lost=0.0, tests=10) == math.ceil(
        100 * (0.08 * 2.807034 / 1.959964 / 0.04) ** 2
    )
    assert items_to_tell(kept, kept=-0.05, lost=0.0, tests=10) == 256
    # At the edge of both nothing would tell.
    assert items_to_tell(Estimate(-0.05, -0.12, 0.04, 0.0, 100), kept=-0.05, lost=-0.05) is None


def test_page_and_gate_count_by_one_formula() -> None:
    """Where both ask the same, whether the loss is within the margin, they say the same number."""
    for seed in range(5):
        numbers = summary(60, ("quiz", "general", 0.9, 0.9), seed=seed)
        (line,) = numbers.counted
        (check,) = policy.judge(numbers, policy.Policy())
        assert line.headline is not None
        assert check.outcome == "unclear"
        assert check.needed == line.headline.needed


def test_a_change_that_only_seems_certain_shows_the_interval_that_decides() -> None:
    """Three changes of which each alone excludes zero: p of 0.02 three times is 0.06 each."""
    base = [replace(s, variant="base", prompt=None, delta=None, delta_low=None, delta_high=None, p=None, value=0.6)
            for s in (tuned(t, 0.5, -0.1, 0.09, p=0.02) for t in "abc")]  # fmt: skip
    scores = [*base, *judge([tuned(t, 0.5, -0.1, 0.09, p=0.02) for t in "abc"])]
    wide = by_chance(scores)
    assert [w.score.task for w in wide] == ["a", "b", "c"]
    # Bonferroni for three: 2.394 standard errors in the place of 1.960.
    assert (wide[0].change.low, wide[0].tests) == (pytest.approx(-0.1 - 0.09 * 2.393980 / 1.959964), 3)
    assert wide[0].change.high >= 0, "it is not called lost, so what decides reaches zero"
    sentence = chance(Summary.of(scores))
    assert "a (0-shot) -10.0 [-19.0, -1.0], widened for 3 changes [-21.0, 1.0]" in sentence
    assert chance(Summary.of([*base[:1], *judge([tuned("a", 0.5, -0.1, 0.09, p=0.02)])])) == ""


def test_verdicts_are_corrected_within_one_role_and_one_state_of_the_prompt() -> None:
    alone = judge([tuned("a", 0.5, -0.1, 0.09, p=0.02)])
    assert [s.verdict for s in alone] == ["lost"]
    many = judge([tuned(t, 0.5, -0.1, 0.09, p=0.02) for t in "abc"])
    assert [s.verdict for s in many] == ["unclear"] * 3
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
    planted = [lost, *(replace(score, role="general") for score in disguised)]
    assert judge(planted)[0].verdict != "lost"


def test_a_margin_is_a_share_of_the_metrics_scale() -> None:
    (score,) = judge([tuned("a", 30, -1, 3, by="bleu")])
    assert score.verdict == "kept"  # at worst 4 of 100
    (score,) = judge([tuned("a", 30, -1, 3, by="bleu")], margin=0.02)
    assert score.verdict == "unclear"


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
    assert words == ["kept", "unclear", "kept", "unclear", "unclear"]
    (nothing,) = judge([tuned("a", 0.4, 0.0, 0.01, chance=0.5)])
    assert (nothing.verdict, nothing.needed) == ("unclear", None), "no number of items would show that it was kept"


def test_the_interval_of_the_mean_change_that_users_read_covers_it() -> None:
    """1,000 times five tasks of 60 items: MOVER over Tango's intervals, read from `Summary.general_change`."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        scores = []
        for task in "abcde":
            kind = rng.choice(4, 60, p=[0.5, 0.06, 0.10, 0.34])
            before, after = np.isin(kind, (0, 2)).astype(float), np.isin(kind, (0, 1)).astype(float)
            e = paired(metric("accuracy"), before[:, None], after[:, None])
            new = replace(
                tuned(task, after.mean(), e.value, 0.1),
                delta_low=e.low,
                delta_high=e.high,
                covariances={"tuned 0": covariance(after, after), "base 0": covariance(before, after)},
            )
            own = {"base 0": covariance(before, before)}
            old = replace(new, variant="base", prompt=None, value=before.mean(), delta=None, covariances=own)
            scores += [old, new]
        change = Summary.of(scores).general_change
        assert change is not None
        held += change.low <= -4.0 <= change.high
    assert 930 <= held <= 975  # the noise of 1,000 studies is 7


def test_the_spread_between_sets_of_demonstrations_is_their_standard_deviation() -> None:
    # Values 0.5 and 0.7: standard deviation 0.2 / sqrt(2). A score that no other set has was asked once.
    first, other = tuned("a", 0.5, 0.0, 0.1), tuned("a", 0.7, 0.0, 0.1)
    (both, alone) = with_spread([first, tuned("b", 0.5, 0.0, 0.1)], [[other]])
    assert (both.value, both.sets, both.over_sets) == (0.5, 2, pytest.approx(0.2 / 2**0.5))
    assert (alone.sets, alone.over_sets) == (1, None)


SCORE = Score(
    "tuned", "off", "t", "general", 0, "accuracy", 0.5, 0.4, 0.6, 96, delta=0.0, delta_low=-0.01, delta_high=0.01
)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.12, -0.001, "lost"),
        (0.001, 0.12, "gained"),
        (-0.049, 0.05, "kept"),
        (-0.05, 0.01, "unclear"),
        (-0.01, 0.3, "kept"),  # a loss of the margin is excluded; whether there is a gain is another question
        (0.0, 0.04, "kept"),  # an interval that touches zero has not left it
        (-0.2, 0.0, "unclear"),
        (math.nan, 0.1, "unclear"),
    ],
)
def test_without_a_test_of_its_own_the_interval_of_the_change_decides_the_word(
    low: float, high: float, said: str
) -> None:
    moved = (low + high) / 2 if math.isfinite(low) else 0.0
    assert of_score(replace(SCORE, value=0.5 + moved, delta=moved, delta_low=low, delta_high=high)) == said


def test_one_margin_in_every_unit_and_no_more_than_half_of_what_was_there() -> None:
    """Five points of a share and of BLEU; 5 % of the base where no scale is known; half of what is above chance where that is less."""
    assert margin_of(SCORE) == pytest.approx(0.05)
    assert margin_of(replace(SCORE, metric="bleu", value=30.0)) == pytest.approx(5.0)
    assert margin_of(replace(SCORE, metric="perplexity", value=10.1, delta=0.1)) == pytest.approx(0.5)
    assert margin_of(replace(SCORE, metric="never_heard_of", value=300.0)) == pytest.approx(15.0)
    assert margin_of(replace(SCORE, chance=0.46)) == pytest.approx(0.02)


@pytest.mark.parametrize(("low", "high", "said"), [(1.0, 3.0, "lost"), (-3.0, -1.0, "gained"), (-0.2, 0.4, "kept")])
def test_where_less_is_better_a_fall_is_a_gain_also_when_it_is_judged_while_measuring(
    low: float, high: float, said: str
) -> None:
    moved = (low + high) / 2
    score = replace(
        SCORE, metric="perplexity", value=12.0 + moved, delta=moved, delta_low=low, delta_high=high, p=0.001
    )
    assert of_score(score) == said
    assert [s.verdict for s in judge([score])] == [said]


def test_a_verdict_that_was_given_when_measuring_is_kept_as_it_is() -> None:
    judged = replace(SCORE, delta=-0.1, delta_low=-0.2, delta_high=-0.01, verdict="unclear", needed=410)
    assert of_score(judged) == "unclear"
    assert long(judged) == f"unclear from {judged.n} items (about 410 would tell)"
    assert corrected([SCORE, judged])
    assert not corrected([SCORE])


def test_no_verdict_on_the_base_on_symptoms_and_without_an_interval() -> None:
    assert of_score(replace(SCORE, variant="base", delta=None, delta_low=None, delta_high=None)) is None
    assert of_score(replace(SCORE, metric="format_share", delta_low=0.3, delta_high=0.5)) is None
    assert of_score(replace(SCORE, delta_low=None)) is None


def test_scores_along_the_way_correct_no_verdict_and_get_none() -> None:
    """Nine of them in the family of the end would make its p of 0.02 one of 0.2."""
    end = tuned("a", 0.6, -0.1, 0.05, p=0.02)
    course = [replace(tuned("a", 0.6, 0.0, 0.05, p=0.5), step=step) for step in range(1, 10)]
    assert [s.verdict for s in judge([end, *course])] == ["lost", *[None for _ in course]]


def test_no_change_that_the_base_makes_by_itself_is_a_gain_or_a_loss() -> None:
    """Measured again the base moves by 4 points; that is the noise of this task and of no other."""
    pairs = [
        (replace(tuned(task, 0.6, 0, 0.05), variant="base", prompt=None, again=again), tuned(task, 0.6, delta, 0.01, p=1e-4))
        for task, again, delta in (("a", 0.56, -0.03), ("b", 0.60, -0.03), ("c", 0.64, 0.03), ("d", 0.56, -0.05))
    ]  # fmt: skip
    bases = [replace(base, delta=None, delta_low=None, delta_high=None, p=None) for base, _ in pairs]
    judged = judge([*bases, *(score for _, score in pairs)])
    assert [score.verdict for score in judged[len(bases) :]] == ["kept", "lost", "kept", "lost"]

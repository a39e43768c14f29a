"""Gain and retention on numbers small enough to do by hand."""

from dataclasses import replace
from typing import Any

import pytest

from holdfast.report import sentences
from holdfast.results.scores import Score
from holdfast.results.summary import Summary, share


def pair(
    task: str,
    role: Any,
    base: float,
    delta: float,
    half: float,
    *,
    shots: int = 0,
    metric: str = "accuracy",
    prompt: Any = "off",
) -> list[Score]:
    """A base score and the tuned one `delta` above it, whose interval reaches `half` to each side."""
    one = Score("base", None, task, role, shots, metric, base, base - half, base + half, 50)
    tuned = replace(
        one,
        variant="tuned",
        prompt=prompt,
        value=base + delta,
        low=base + delta - half,
        high=base + delta + half,
        delta=delta,
        delta_low=delta - half,
        delta_high=delta + half,
    )
    return [one, tuned]


def test_gain_is_the_change_on_the_target_with_the_prompt_on_at_the_fewest_shots() -> None:
    scores = pair("t", "target", 0.5, 0.2, 0.1, shots=1, prompt="on") + pair("t", "target", 0.4, 0.3, 0.1, prompt="on")
    scores.append(replace(scores[-1], prompt="off", delta=0.05))
    gain = Summary.of(scores).gain
    assert gain is not None
    assert (gain.value, gain.low, gain.high, gain.n) == pytest.approx((30, 20, 40, 50))


def test_a_single_general_task_is_one_task_and_not_its_items() -> None:
    moved = Summary.of(pair("a", "general", 0.5, -0.1, 0.03)).general_change
    assert moved is not None
    assert moved.n == 1


def test_backward_transfer_is_the_mean_over_the_earlier_targets() -> None:
    """a falls from 0.9 to 0.6 and b (30 BLEU) rises by 10 points; c came last and has none: (-30 + 10) / 2 = -10.

    Half-widths 6 and 8 make sqrt(36 + 64) / 2 = 5.
    """
    scores = [
        *pair("a", "target", 0.2, 0.4, 0.1, prompt="on"),
        *pair("b", "target", 10.0, 20.0, 5.0, metric="bleu", prompt="on"),
        *pair("c", "target", 0.0, 1.0, 0.1, prompt="on"),
    ]
    scores[1] = replace(scores[1], transfer=-0.3, transfer_low=-0.36, transfer_high=-0.24)
    scores[3] = replace(scores[3], transfer=10.0, transfer_low=2.0, transfer_high=18.0)
    scores += [replace(one, shots=1, transfer=-0.9) for one in scores if one.task == "a"]  # the fewest shots count
    summary = Summary.of(scores)
    moved = summary.transfer
    assert moved is not None
    assert (moved.value, moved.low, moved.high, moved.n) == pytest.approx((-10, -15, -5, 2))
    assert sentences.transfer(summary).startswith(
        "Backward transfer (BWT): -10.0 points [-15.0, -5.0] on a and b, at the end"
    )
    assert Summary.of(scores[4:6]).transfer is None


def test_retention_is_the_ratio_of_means_and_tasks_count_once() -> None:
    # a: base 0.5, changes -0.1 and -0.3 (two shots): -0.2 for the task; b: base 30 BLEU = 0.30, change +6 = +0.06.
    scores = [
        *pair("a", "general", 0.5, -0.1, 0.03),
        *pair("a", "general", 0.5, -0.3, 0.05, shots=1),
        *pair("b", "general", 30.0, 6.0, 3.0, metric="bleu"),
    ]
    summary = Summary.of(scores)
    moved, kept = summary.general_change, summary.retention
    assert moved is not None
    assert kept is not None
    # Mean change (-20 + 6) / 2 = -7; half-widths 4 (mean of 3 and 5) and 3 make sqrt(16 + 9) / 2 = 2.5.
    assert (moved.value, moved.low, moved.high, moved.n) == pytest.approx((-7, -9.5, -4.5, 2))
    # Means 40 and 33: retention 82.5 %. All half-widths are 2.5, so change and tuned correlate by 1/2, and at a share R below 1 that of
    # 33 - 40 R = R * change + (1 - R) * tuned is 2.5 sqrt(R^2 + (1 - R)^2 + R (1 - R)): the limits are where it is just reached.
    assert kept.value == pytest.approx(82.5)
    for limit in (kept.low / 100, kept.high / 100):
        assert abs(33 - 40 * limit) == pytest.approx(2.5 * (1 - limit + limit**2) ** 0.5, abs=1e-6)
    assert kept.low < 82.5 < kept.high


def test_symptoms_and_metrics_without_an_upper_end_stay_out_of_the_mean() -> None:
    scores = [
        *pair("a", "general", 0.5, -0.1, 0.05),
        *pair("a", "general", 0.02, 0.5, 0.05, metric="format_share"),
        *pair("b", "general", 11.0, 4.0, 1.0, metric="perplexity"),
    ]
    summary = Summary.of(scores)
    assert summary.general_change is not None
    assert summary.general_change.value == pytest.approx(-10)
    assert share(summary.symptom("format_share")) == pytest.approx((2, 52))
    assert {word: [line.task for line in lines] for word, lines in summary.by_verdict("general").items()} == {
        "lost": ["a", "b"]
    }


def test_a_base_at_zero_has_no_retention() -> None:
    assert Summary.of(pair("a", "general", 0.0, 0.1, 0.05)).retention is None


@pytest.mark.parametrize(
    ("delta", "start"),
    [(0.3, "Gained 30.0 points [20.0, 40.0] on t."),
     (-0.3, "Lost 30.0 points [-40.0, -20.0] on t, which it was tuned for."),
     (0.02, "It is unclear from these items whether anything was gained on t: +2.0 points [-8.0, 12.0].")],
)  # fmt: skip
def test_the_sentence_on_the_target_says_no_more_than_the_interval(delta: float, start: str) -> None:
    summary = Summary.of(pair("t", "target", 0.5, delta, 0.1, prompt="on"))
    assert (
        sentences.verdict_on(summary)
        == f"{start} No general task was compared, so nothing can be said about forgetting."
    )


@pytest.mark.parametrize(
    ("half", "end"),
    [
        (0.01, "; none was lost."),
        (
            0.2,
            "; no loss was found, but on 1 of them one cannot be ruled out. "
            "Unclear, with too few items to tell kept from lost: a (0-shot).",
        ),
    ],
)
def test_a_loss_that_was_not_found_is_not_a_loss_that_was_excluded(half: float, end: str) -> None:
    scores = [*pair("a", "general", 0.5, 0.0, half), *pair("b", "general", 0.5, 0.0, 0.01)]
    said = sentences.verdict_on(Summary.of(scores))
    assert said.endswith("of the base's mean score on 2 general tasks" + end)


def test_the_sentence_on_general_tasks_names_what_was_lost_and_what_is_not_known() -> None:
    scores = pair("t", "target", 0.5, 0.01, 0.02, prompt="on") + pair("a", "general", 0.5, -0.2, 0.05)
    scores += pair("b", "general", 0.5, 0.0, 0.2) + pair("c", "general", 0.5, 0.0, 0.01)
    assert sentences.verdict_on(Summary.of(scores)) == (
        "No gain on t: the change is +1.0 points [-1.0, 3.0]. Retained 86.7 % [74.3, 100.5] of the base's mean score "
        "on 3 general tasks; lost on a (0-shot). Unclear, with too few items to tell kept from lost: b (0-shot)."
    )


@pytest.mark.parametrize(
    ("change", "half", "end"),
    [
        (-0.1, 0.05, "lost on 1 of 2 general tasks, where 80.0 % of the base's mean score is kept."),
        (0.0, 0.01, "lost on none of 2 general tasks, where 100.0 % of the base's mean score is kept."),
        (0.0, 0.2, "no loss was found on 2 general tasks, where 100.0 % of the base's mean score is kept; on 1 of them a loss cannot "
         "be excluded."),
    ],
)  # fmt: skip
def test_the_verdict_is_one_sentence_that_leaves_the_names_to_another(change: float, half: float, end: str) -> None:
    general = [*pair("a", "general", 0.5, 2 * change, half), *pair("b", "general", 0.5, 0.0, 0.01)]
    summary = Summary.of([*pair("t", "target", 0.5, 0.2, 0.05, prompt="on"), *general])
    assert sentences.plain(sentences.lead(summary)) == f"Gained 20.0 points on t; {end}"
    assert sentences.lost(summary) == ("Lost on a (0-shot)." if change else "")


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (0.97, ": no better. With `--method prompt_tuning` stage 1 is all"),
        (
            0.93,
            "; it is unclear from these items whether that is better.",
        ),  # 93 and 96 [90, 100]: not found is not excluded
        (0.2, "scores 20.0 on t"),
    ],
)
def test_what_the_prompt_of_stage_1_reached_alone_is_said(alone: float, said: str) -> None:
    base, end = pair("t", "target", 0.1, 0.86, 0.05, prompt="on")
    end = replace(end, low=0.9, high=1.0)
    before = pair("t", "target", 0.1, alone - 0.1, 0.05, prompt="on")[1]
    found = sentences.first_stage([base, end, replace(before, step=0)])
    assert said in found
    assert ("no better" in found) == (alone > 0.96)
    assert ("unclear" in found) == (0.9 <= alone < 0.96)
    assert sentences.first_stage([base, end]) == ""


def test_a_collapse_is_named_with_its_numbers_where_no_loss_of_score_was_found() -> None:
    """Exact match hardly moves at 0 shots, and half of the answers are now labels: "no loss was found" does not say that."""
    scores = [*pair("sst2", "target", 0.5, 0.3, 0.05)]
    for task in ("a", "b"):
        scores += pair(task, "general", 0.2, 0.0, 0.08, metric="exact_match")
        scores += pair(task, "general", 0.6, 0.0, 0.01, metric="exact_match", shots=4)
        scores += pair(task, "general", 0.0, 0.5, 0.1, metric="format_share")
        scores += pair(task, "general", 0.0, 0.1, 0.05, metric="format_share", shots=4)
        scores += pair(task, "general", 0.004, 0.498, 0.1, metric="first_token_mass")
    summary = Summary.of(scores)
    assert sentences.plain(sentences.lead(summary)) == (
        "Gained 30.0 points on sst2; no loss of score was found on 2 general tasks, where 100.0 % of the base's mean score is kept; on 2 "
        "of them a loss cannot be excluded; but at 0 shots 50.0 % of their answers are now labels of sst2 (base 0.0 %)."
    )
    assert (
        "At 0 shots an answer to a general task begins as one of them with probability 50.2 %"
        in sentences.verdict_on(summary)
    )
    # Two tasks, each with a half-width of 10 points: sqrt(200) / 2 = 7.1.
    assert (
        "At 0 shots 50.0 % of answers to general tasks are now labels of sst2 (base 0.0 %: +50.0 points [42.9, 57.1])."
        in sentences.verdict_on(summary)
    )
    assert "no loss of score was found" in sentences.verdict_on(summary)


def test_a_format_that_did_not_spread_for_certain_is_not_called_a_collapse() -> None:
    scores = [*pair("sst2", "target", 0.5, 0.3, 0.05), *pair("a", "general", 0.5, 0.0, 0.01)]
    scores += pair("a", "general", 0.02, 0.06, 0.08, metric="format_share")  # [-2, 14]
    scores += pair("a", "general", 0.02, 0.03, 0.01, metric="first_token_mass")  # certain, and 3 points
    summary = Summary.of(scores)
    assert summary.collapsed == []
    assert sentences.plain(sentences.lead(summary)).startswith(
        "Gained 30.0 points on sst2; lost on none of 1 general task"
    )


def test_a_mean_corrected_for_chance_stands_beside_the_plain_one() -> None:
    """By hand: a guess is 0.5 on a and 0 on b; a falls from 0.75 to 0.5 (50 to 0 of what is above chance), b stays at 0.4."""
    scores = [replace(s, chance=0.5) for s in pair("a", "general", 0.75, -0.25, 0.05)] + pair(
        "b", "general", 0.4, 0.0, 0.05
    )
    found = Summary.of(scores)
    assert found.mean_scores == (pytest.approx((57.5, 45.0)), pytest.approx((45.0, 20.0)))
    assert found.general_change is not None
    assert found.general_change.value == pytest.approx(-12.5), (
        "the change of the plain mean is BWT over the general tasks"
    )
    assert Summary.of(pair("t", "target", 0.5, 0.1, 0.05)).mean_scores is None


def test_the_prompt_counts_on_the_target_and_is_removed_for_all_else() -> None:
    """Every task was measured both ways; attached, the prompt costs each other task 20 points more."""
    scores = []
    for task, role, on, off in (
        ("t", "target", 0.3, 0.1),
        ("a", "general", -0.25, -0.05),
        ("d", "diagnostic", -0.3, -0.1),
    ):
        base, attached = pair(task, role, 0.5, on, 0.02, prompt="on")
        scores += [base, attached, pair(task, role, 0.5, off, 0.02)[1]]
    for order in (scores, scores[::-1]):
        summary = Summary.of(order)
        assert summary.gain
        assert summary.general_change
        assert summary.mean_scores
        assert (summary.gain.value, summary.general_change.value) == pytest.approx((30, -5))
        assert summary.mean_scores[0] == pytest.approx((50, 45))
        (probe,) = summary.by_own_metric("diagnostic")
        assert probe.headline
        assert probe.headline.delta == -0.1


def floored(
    task: str, base: float, half: float, *, chance: float = 0.0, shots: int = 0, metric: str = "accuracy"
) -> list[Score]:
    """A general task that falls by 20 points, whose base stands at `base` with limits `half` to each side."""
    return [
        replace(score, chance=chance) for score in pair(task, "general", base, -0.2, half, shots=shots, metric=metric)
    ]


def test_a_task_on_which_the_base_is_not_above_chance_counts_in_no_mean() -> None:
    """The bug: a base that guesses between two labels loses or gains nothing by tuning, and half of what was "kept" was guessing."""
    scores = [*pair("t", "target", 0.5, 0.2, 0.1), *pair("good", "general", 0.8, -0.4, 0.02)]
    alone = Summary.of(scores)
    summary = Summary.of(
        [*scores, *floored("guesses", 0.55, 0.06, chance=0.5), *floored("nothing", 0.0, 0.0, metric="exact_match")]
    )
    assert summary.retention == alone.retention
    assert summary.general_change == alone.general_change
    assert summary.mean_scores == alone.mean_scores
    assert [line.task for line in summary.floored] == ["guesses", "nothing"]
    assert [line.task for line in summary.by_verdict("general")["lost"]] == ["good"]
    verdict = sentences.verdict_on(summary)
    assert "Retained 50.0 %" in verdict
    assert "on 1 general task; lost on good (0-shot)." in verdict
    # Of guesses a score of 61 is not excluded, where chance is 50; of the other every interval beyond zero is.
    told = "The base may be no better than chance at n = 50 on guesses (0-shot) (about 72 items would tell), and is not above chance on "
    assert f"{told}nothing (0-shot): counted in no mean" in verdict


def test_the_floor_is_of_each_number_of_shots_and_by_the_interval() -> None:
    above, below = floored("a", 0.55, 0.04, chance=0.5, shots=4), floored("a", 0.55, 0.06, chance=0.5)
    summary = Summary.of([*above, *below])
    assert [(line.task, line.shots) for line in summary.floored] == [("a", 0)]
    assert [line.shots for line in summary.counted] == [4]
    assert summary.general_change is not None
    assert summary.general_change.value == pytest.approx(-20)
    # Exactly at the limit is not above it, and a target may begin at chance: there the gain is asked for.
    assert Summary.of(floored("a", 0.55, 0.05, chance=0.5)).floored
    target = [replace(score, chance=0.5) for score in pair("t", "target", 0.5, 0.2, 0.1)]
    assert Summary.of(target).gain is not None
    # Of a metric without points, or of which less is better, no floor is known.
    assert not Summary.of(floored("p", 5.0, 6.0, metric="perplexity")).floored


def test_where_the_base_is_above_chance_nowhere_nothing_is_said_about_forgetting() -> None:
    summary = Summary.of([*pair("t", "target", 0.5, 0.2, 0.1), *floored("a", 0.5, 0.1, chance=0.5)])
    assert summary.retention is None
    assert summary.general_change is None
    assert summary.by_verdict("general") == {}
    text = "The base is shown to be above chance on no general task, so nothing can be said about forgetting."
    assert text in sentences.verdict_on(summary)
    assert sentences.plain(sentences.lead(summary)).endswith(
        "the base is shown to be above chance on no general task, so nothing can be said about forgetting."
    )

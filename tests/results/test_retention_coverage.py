"""How often the 95 % interval of the retention on the page holds the truth: runs drawn from populations whose truth is known.

The numbers come from `Summary.of(scores).retention`, which page, card, terminal, comparison and study read. An interval whose limits
say nothing ("unclear") counts neither way: coverage is of the intervals that are shown. The noise of a share near 95 % over
1,500 runs is 0.6 points, so a band of 2 points passes an honest interval and fails one whose coverage is 92 %.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from scipy import stats

from holdfast.results.compute_scores import score
from holdfast.results.metric_rule import Array
from holdfast.results.metrics import metric
from holdfast.results.scores import Output, Score
from holdfast.results.statistics import covariance, paired, pseudovalues, single
from holdfast.results.summary import Summary
from holdfast.tasks.task import Task

MATCH = metric("exact_match")
RUNS = 1_500
VARIANTS: tuple[Literal["base", "tuned"], ...] = ("base", "tuned")


def answers(rng: np.random.Generator, n: int, shots: int, right: tuple[float, float], alike: float) -> Array:
    """Right or wrong `[2, shots, n]` of base and tuned model: an item's difficulty is common to both by `alike`."""
    difficulty, model = rng.normal(size=(1, 1, n)), rng.normal(size=(2, 1, n))
    within = (1 - alike) / 2
    luck = rng.normal(size=(2, shots, n))
    felt = np.sqrt(alike) * difficulty + np.sqrt(within) * model + np.sqrt(1 - alike - within) * luck
    return (felt < stats.norm.ppf(np.array(right))[:, None, None]).astype(float)


def scores_of(task: str, drawn: Array, *, recorded: bool = True) -> Iterator[Score]:
    """The scores of one general task as `compute_scores` makes them of its outputs; without covariances, those of an older version."""
    n = drawn.shape[2]
    parts: dict[tuple[Literal["base", "tuned"], int], Array] = {
        (variant, shots): pseudovalues(MATCH, items[:, None])
        for variant, side in zip(VARIANTS, drawn, strict=True)
        for shots, items in enumerate(side)
    }
    for (variant, shots), own in parts.items():
        value = single(MATCH, own[:, None])
        common: dict[str, Any] = {"stderr": value.stderr}
        if variant == "tuned":
            moved = paired(MATCH, parts["base", shots][:, None], own[:, None])
            common |= {"delta": moved.value, "delta_low": moved.low, "delta_high": moved.high, "p": moved.p}
        seen = [key for key in parts if "base" in (variant, key[0]) or variant == key[0]]
        if variant == "base":
            seen = [key for key in seen if key[0] == "base"]
        known = {f"{name} {k}": covariance(own, parts[name, k]) for name, k in seen} if recorded else {}
        yield Score(
            variant, None, task, "general", shots, "exact_match", value.value, value.low, value.high, n, covariances=known, **common
        )  # fmt: skip


def coverage(
    base: float,
    tuned: float,
    alike: float,
    n: int,
    tasks: int,
    shots: int = 1,
    *,
    runs: int = RUNS,
    recorded: bool = True,
) -> tuple[float, float]:
    """(share of the shown intervals that hold the truth, share of runs where one is shown)."""
    rng, held, shown = np.random.default_rng((n, tasks, shots)), 0, 0
    for _ in range(runs):
        scores = [
            s
            for t in range(tasks)
            for s in scores_of(f"t{t}", answers(rng, n, shots, (base, tuned), alike), recorded=recorded)
        ]
        if kept := Summary.of(scores).retention:
            shown += 1
            held += kept.low <= 100 * tuned / base <= kept.high
    print(
        f"base {base} tuned {tuned} alike {alike} n {n} tasks {tasks} shots {shots} {'' if recorded else 'old records '}"
        f"coverage {held / shown:.3f} shown {shown / runs:.2f}",
        flush=True,
    )
    return held / shown, shown / runs


CELLS = (
    # base, tuned, alike, items, tasks, shots
    (0.5, 0.5, 0.8, 100, 3, 1), (0.5, 0.25, 0.8, 100, 3, 1), (0.5, 0.6, 0.8, 100, 3, 1), (0.3, 0.4, 0.8, 100, 3, 1),
    (0.3, 0.6, 0.8, 100, 3, 1), (0.2, 0.4, 0.8, 100, 3, 1), (0.1, 0.3, 0.8, 100, 3, 1), (0.05, 0.1, 0.5, 100, 2, 1),
    (0.05, 0.5, 0.5, 100, 2, 1), (0.5, 0.05, 0.5, 100, 3, 1), (0.95, 0.9, 0.6, 40, 6, 1), (0.95, 0.05, 0.3, 40, 6, 1),
    (0.05, 0.95, 0.3, 300, 1, 1), (0.9, 0.6, 0.0, 40, 1, 1), (0.2, 0.1, 0.4, 40, 6, 1), (0.7, 0.8, 0.9, 300, 1, 1),
    (0.3, 0.6, 0.4, 100, 3, 2), (0.5, 0.2, 0.6, 40, 2, 3), (0.1, 0.3, 0.2, 100, 3, 2), (0.8, 0.8, 0.8, 60, 4, 4),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("base", "tuned", "alike", "n", "tasks", "shots"), CELLS)
def test_the_retention_that_users_read_is_held_in_95_percent(
    base: float, tuned: float, alike: float, n: int, tasks: int, shots: int
) -> None:
    """Scaled by the base's mean alone, the interval of the change holds a growth from .1 to .3 in 70 %, and a loss to a half in 99 %."""
    held, shown = coverage(base, tuned, alike, n, tasks, shots)
    assert 0.93 <= held <= 0.97
    assert shown > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("tuned", [0.1, 0.3, 0.6])
def test_records_without_covariances_hold_it_as_often(tuned: float) -> None:
    held, _ = coverage(0.3, tuned, 0.8, 100, 3, recorded=False)
    assert 0.93 <= held <= 0.97


@pytest.mark.parametrize(("base", "tuned"), [(0.3, 0.6), (0.5, 0.25)])
def test_growth_and_loss_are_held_about_as_often_as_they_should(base: float, tuned: float) -> None:
    """The small version of the above: 300 runs, whose noise is 1.3 points. The interval of a known base holds them in 77 % and 99 %."""
    held, _ = coverage(base, tuned, 0.8, 60, 2, runs=300)
    assert 0.91 <= held <= 0.98


def test_scores_made_of_outputs_have_the_same_interval() -> None:
    """The scores that this file draws are those that `compute_scores.score` makes of the same answers, covariances and all."""
    drawn = answers(np.random.default_rng(0), 40, 2, (0.4, 0.7), 0.5)
    outputs = [
        Output(variant, None, "t", "general", shots, i, f"q{i} {shots}", "yes", "yes" if right else "no")
        for variant, side in zip(("base", "tuned"), drawn, strict=True)
        for shots, items in enumerate(side)
        for i, right in enumerate(items)
    ]
    # Beside them stand the symptoms, which this file does not draw.
    made = [one for one in score(outputs, [Task("t", {})]) if one.metric == "exact_match"]
    drawn_scores = list(scores_of("t", drawn))
    for real, simulated in zip(made, drawn_scores, strict=True):
        assert real.covariances == pytest.approx(simulated.covariances)
        assert (real.value, real.stderr, real.delta_low) == pytest.approx(
            (simulated.value, simulated.stderr, simulated.delta_low)
        )
    one, other = Summary.of(made).retention, Summary.of(drawn_scores).retention
    assert one is not None
    assert other is not None
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_a_base_that_gets_nothing_right_has_no_retention() -> None:
    nothing = np.zeros((2, 1, 40))
    assert Summary.of(list(scores_of("t", nothing))).retention is None
    nothing[0, 0, :1] = 1.0
    one_right = Summary.of(list(scores_of("t", nothing))).retention
    assert one_right is not None
    assert (one_right.low, one_right.high > 100) == (0.0, True), "one answer that was right may have been luck"

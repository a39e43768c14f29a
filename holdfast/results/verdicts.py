"""What may be said about many scores together: verdicts corrected for their number, means, retention, and what chance does.

Shares of the scale (0 to 1, BLEU 30 is 0.3) are used wherever tasks with different metrics meet.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from holdfast.results.metrics import scale
from holdfast.results.scores import Score, Verdict
from holdfast.results.statistics import LEVEL, Array, Estimate
from holdfast.results.symptoms import SYMPTOMS

MARGIN = 0.05  # the loss that "kept" must exclude


def holm(ps: Sequence[float]) -> list[float]:
    """Probabilities corrected for their number, so that one false alarm among all of them stays as rare as one (Holm 1979)."""
    order = np.argsort(ps, kind="stable")
    corrected = np.maximum.accumulate(np.asarray(ps, dtype=float)[order] * np.arange(len(ps), 0, -1))
    found = np.empty(len(ps))
    found[order] = np.minimum(1.0, corrected)
    return found.tolist()


def verdict(change: Estimate, *, margin: float, floor: float = 0.0) -> tuple[Verdict, int | None]:
    """The word for a change, and, where that is "not resolvable", about how many items would resolve it.

    gained, lost     the interval excludes zero, `change.p` is below 5 %, and the change exceeds the noise `floor`
    kept             otherwise, where the interval excludes a loss of `margin`
    not resolvable   neither: the items are too few to tell; or, where `margin` is not positive, nothing was there to be kept

    `margin` and `floor` are in the unit of the change. `change.p` may be corrected for many tasks.
    """
    assert change.p is not None
    apart = change.low > 0 or change.high < 0
    if apart and change.p < 1 - LEVEL and abs(change.value) > floor:
        return ("gained" if change.value > 0 else "lost"), None
    if margin <= 0:
        return "not resolvable", None
    if change.low > -margin:
        return "kept", None
    # The interval shrinks as 1 / sqrt(n): enough items end either doubt, that of a loss or that of its absence.
    doubt = max(margin + change.value, -change.value)
    ratio = (change.value - change.low) / doubt
    return "not resolvable", max(change.n + 1, math.ceil(change.n * ratio**2))


def judge(scores: Iterable[Score], *, margin: float = MARGIN, floor: float = 0.0) -> list[Score]:
    """The scores with `verdict` and `needed` filled in where a change was measured.

    `margin` and `floor` (see `noise_floor`) are shares of the scale; where the base was measured twice (`Score.again`), the difference is
    the floor of that task and number of shots. "Kept" must also exclude the loss of half of what the
    base has above chance: a base with BLEU 2 cannot lose five points, so to exclude that says nothing. The tests are
    corrected (Holm) within each family: all tasks and shots of one role with the prompt in one state. Scores along the way (with a
    step) describe a course and get no verdict.
    """
    scores = list(scores)
    noise = {s.key[2:]: abs(s.again - s.value) for s in scores if s.variant == "base" and s.again is not None}
    families: dict[tuple[str | None, str], list[int]] = defaultdict(list)
    for i, score in enumerate(scores):
        if score.metric not in SYMPTOMS and score.p is not None and score.step is None:
            families[score.prompt, score.role].append(i)
    for members in families.values():
        for i, p in zip(members, holm([scores[i].p or 0.0 for i in members]), strict=True):
            unit, change = scale(scores[i].metric), replace(change_of(scores[i]), p=p)
            above = scores[i].value - change.value - unit * scores[i].chance
            word, needed = verdict(
                change, margin=min(margin * unit, above / 2), floor=max(floor * unit, noise.get(scores[i].key[2:], 0.0))
            )
            scores[i] = replace(scores[i], verdict=word, needed=needed)
    return scores


def change_of(score: Score) -> Estimate:
    """The paired change that a score of the tuned model records."""
    assert score.delta is not None, score.key
    assert score.delta_low is not None, score.key
    assert score.delta_high is not None, score.key
    return Estimate(score.delta, score.delta_low, score.delta_high, math.nan, score.n, score.p)


@dataclass(frozen=True, slots=True)
class Summary:
    """Several tasks as one: plain means over tasks, as shares of the scale.

    `change`, with the 95 % interval `[low, high]` for these very tasks, is the mean of tuned - base: over the general tasks it is
    the backward transfer (BWT) of continual learning. `base_above` and `tuned_above` are means of (value - chance) / (1 - chance).
    `retention` is tuned / base; None where the base does not exceed chance by two standard errors, so that nothing was there to
    be kept.
    """

    tasks: int
    base: float
    tuned: float
    change: float
    low: float
    high: float
    base_above: float
    tuned_above: float
    retention: float | None


def summarise(scores: Iterable[Score]) -> Summary:
    """The mean over the tuned scores, which hold their distance from the base; at least one is needed. Diagnostics are left out.

    The base's own records give its standard errors; where they are not among `scores`, the tuned model's stand in. Intervals of
    independent tasks are combined by their distances from the estimates (MOVER, Zou and Donner 2008), which keeps lopsided
    intervals lopsided.
    """
    scores = list(scores)
    errors = {score.key[2:]: score.stderr for score in scores if score.variant == "base"}
    scores = [score for score in scores if score.delta is not None and score.role != "diagnostic"]
    if not scores:
        raise ValueError("nothing to summarise: no score of a tuned model was measured against its base")
    scales = np.array([scale(score.metric) for score in scores])
    tuned = np.array([score.value for score in scores]) / scales
    change = np.array([score.delta for score in scores], dtype=float) / scales
    below = np.array([change_of(score).value - change_of(score).low for score in scores]) / scales
    above = np.array([change_of(score).high - change_of(score).value for score in scores]) / scales
    chance = np.array([score.chance for score in scores])
    error = np.array([errors.get(score.key[2:], score.stderr) for score in scores]) / scales
    base, count = tuned - change, len(scores)
    mean, base_error = float(change.mean()), float(np.sqrt((error**2).sum())) / count
    return Summary(
        tasks=count,
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        change=mean,
        low=mean - float(np.sqrt((below**2).sum())) / count,
        high=mean + float(np.sqrt((above**2).sum())) / count,
        base_above=float(((base - chance) / (1 - chance)).mean()),
        tuned_above=float(((tuned - chance) / (1 - chance)).mean()),
        retention=retention(float(base.mean()), float(tuned.mean()), base_error, float(chance.mean())),
    )


def retention(base: float, tuned: float, stderr: float, chance: float = 0.0) -> float | None:
    """tuned / base, where the base (with this standard error) is above chance by two standard errors; else None."""
    return tuned / base if base > 0 and base > chance + 2 * stderr else None


@dataclass(frozen=True, slots=True)
class Spread:
    """How far one number moves with the training seed and with the set of demonstrations: standard deviations, kept apart.

    None where there was only one of the kind.
    """

    mean: float
    over_seeds: float | None
    over_demonstrations: float | None


def spread(values: Array) -> Spread:
    """The spread of values `[training seeds, demonstration sets]`: that of the seeds' means, and the mean one within a seed."""
    seeds, sets = values.shape
    return Spread(
        mean=float(values.mean()),
        over_seeds=float(values.mean(1).std(ddof=1)) if seeds > 1 else None,
        over_demonstrations=float(np.sqrt(values.var(1, ddof=1).mean())) if sets > 1 else None,
    )


def with_spread(scores: Sequence[Score], others: Sequence[Sequence[Score]]) -> list[Score]:
    """The scores with the standard deviation between them and those of other sets of demonstrations, where there are any."""
    values = [{score.key: score.value for score in found} for found in others]
    spreads = []
    for score in scores:
        own = [score.value, *(found[score.key] for found in values if score.key in found)]
        between = spread(np.array([own])).over_demonstrations
        spreads.append(replace(score, sets=len(own), over_sets=between))
    return spreads


def noise_floor(first: Iterable[Score], second: Iterable[Score]) -> float:
    """The largest difference between two evaluations of one model, as a share of the scale: no smaller change is real.

    On an accelerator even greedy decoding does not repeat exactly. Scores are matched by their keys; those in only one are left out.
    """
    values = {score.key: score.value for score in first}
    found = [
        abs(score.value - values[score.key]) / scale(score.metric)
        for score in second
        if score.key in values and score.metric not in SYMPTOMS
    ]
    return max(found, default=0.0)

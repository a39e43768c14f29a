"""The word beside a number: what an interval of a difference allows one to say, and no more; corrected for the number of tasks.

A change is a tuned score minus the base's on the same items. "Unclear" is not "kept": a wide interval around zero is missing
evidence, not evidence of nothing missing. Shares of the scale (0 to 1, BLEU 30 is 0.3) are used wherever tasks with different metrics
meet.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from holdfast.results import units
from holdfast.results.metric_facts import facts
from holdfast.results.scores import Score, Verdict
from holdfast.results.statistics import LEVEL, Estimate, items_to_tell, widened

MARGIN = 0.05  # the loss that "kept" must exclude, as a share of the scale
POINTS = 100 * MARGIN


def holm(ps: Sequence[float]) -> list[float]:
    """Return probabilities corrected for their number, so that one false alarm among all of them stays as rare as one (Holm 1979)."""
    order = np.argsort(ps, kind="stable")
    # The maximum so far: a larger p must not be corrected to a smaller number than one before it.
    corrected = np.maximum.accumulate(np.asarray(ps, dtype=float)[order] * np.arange(len(ps), 0, -1))
    in_order = np.empty(len(ps))
    in_order[order] = np.minimum(1.0, corrected)
    return in_order.tolist()


def verdict(change: Estimate, *, margin: float, floor: float = 0.0, tests: int = 1) -> tuple[Verdict, int | None]:
    """Return the word for a change where more is better, and, where that is "unclear", about how many items would tell.

    gained, lost  the interval excludes zero, `change.p` (where there is one) is below 5 %, and the change exceeds the noise `floor`
    kept          otherwise, where the interval excludes a loss of `margin`
    unclear       neither: the items are too few to tell; or, where `margin` is not positive, nothing was there to be kept

    `margin` and `floor` are in the unit of the change. `change.p` may be corrected for many tasks, whose number `tests` is.
    """
    if not (math.isfinite(change.low) and math.isfinite(change.high)):
        return "unclear", None
    excluded = change.low > 0 or change.high < 0
    if excluded and (change.p is None or change.p < 1 - LEVEL) and abs(change.value) > floor:
        return ("gained" if change.value > 0 else "lost"), None
    if margin <= 0:
        return "unclear", None
    if change.low > -margin:
        return "kept", None
    return "unclear", items_to_tell(change, kept=-margin, lost=0.0, tests=tests)


def margin_of(score: Score, margin: float = MARGIN) -> float:
    """Return the loss that "kept" must exclude, in the score's unit; `margin` is a share of the scale.

    Of a likelihood it is a fifth (`MetricFacts.step`). It is no more than half of what the base has above chance: a base with BLEU 2 cannot
    lose five points, so to exclude that says nothing. Of a metric without a known upper end it is that share of the base's value.
    """
    known, base = facts(score.metric), score.value - (score.delta or 0.0)
    if known.scale is None:
        return abs(base) * margin
    above = base - known.scale * score.chance if known.more_is_better else math.inf
    return min(margin * known.step * known.scale, above / 2)


def of_score(score: Score) -> Verdict | None:
    """Return the verdict on one score; None for the base, for a symptom, and where no interval of the difference was measured.

    A score that was judged when it was measured keeps that verdict, which is corrected for the number of tasks.
    """
    if score.delta is None or score.delta_low is None or score.delta_high is None or facts(score.metric).symptom:
        return None
    return score.verdict or verdict(change_of(score), margin=margin_of(score))[0]


def long(score: Score) -> str:
    """Return the verdict in full: with the number of items that would tell, where these do not."""
    word = of_score(score)
    if word != "unclear":
        return word or ""
    more = f" (about {units.about(score.needed)} would tell)" if score.needed else ""
    return f"{word} from {score.n} item{'' if score.n == 1 else 's'}{more}"


def corrected(scores: Iterable[Score]) -> bool:
    """Return whether the verdicts were corrected for the number of tasks when they were measured."""
    return any(score.verdict for score in scores)


def judge(scores: Iterable[Score], *, margin: float = MARGIN, floor: float = 0.0) -> list[Score]:
    """Return the scores with `verdict` and `needed` filled in where a change was measured.

    `margin` and `floor` are shares of the scale; where the base was measured twice (`Score.again`), the difference is the floor of that
    task and number of shots. The tests are corrected (Holm) within each family: all tasks and shots of one role with the prompt in one
    state. Scores along the way (with a step) describe a course and get no verdict.
    """
    scores = list(scores)
    # By task, shots and metric: another task's noise says nothing of this one's.
    noise = {s.key[2:]: abs(s.again - s.value) for s in scores if s.variant == "base" and s.again is not None}
    for members in _families(scores):
        for i, p in zip(members, holm([scores[i].p or 0.0 for i in members]), strict=True):
            score = scores[i]
            least = max(floor * (facts(score.metric).scale or 1.0), noise.get(score.key[2:], 0.0))
            change = replace(change_of(score), p=p)
            word, needed = verdict(change, margin=margin_of(score, margin), floor=least, tests=len(members))
            scores[i] = replace(score, verdict=word, needed=needed)
    return scores


def _families(scores: Sequence[Score]) -> list[list[int]]:
    """Return the positions of scores whose tests are corrected together: of one role, with the prompt in one state."""
    families: dict[tuple[str | None, str], list[int]] = defaultdict(list)
    for i, score in enumerate(scores):
        if facts(score.metric).symptom is None and score.p is not None and score.step is None:
            families[score.prompt, score.role].append(i)
    return list(families.values())


@dataclass(frozen=True)
class Widened:
    """A change whose own interval excludes zero and that may be chance among `tests` changes; `change` has the interval of all of them."""

    score: Score
    change: Estimate
    tests: int


def by_chance(scores: Sequence[Score]) -> list[Widened]:
    """Return the changes that are called neither gained nor lost although their own interval excludes zero, because there are so many.

    The interval that decides is widened for their number, in the score's unit and with its sign.
    """
    chances = []
    for members in _families(scores):
        for i, p in zip(members, holm([scores[i].p or 0.0 for i in members]), strict=True):
            score = scores[i]
            low, high, value = score.delta_low, score.delta_high, score.delta
            if low is None or high is None or value is None or low <= 0 <= high or p < 1 - LEVEL:
                continue
            wide = widened(Estimate(value, low, high, n=score.n, p=score.p), len(members))
            # The exact test has the last word on zero, which the widened interval may miss by a hair.
            wide = replace(wide, low=min(wide.low, 0.0), high=max(wide.high, 0.0))
            chances.append(Widened(score, wide, len(members)))
    return chances


def change_of(score: Score) -> Estimate:
    """Return the paired change that a score of the tuned model records, turned so that more is better."""
    assert score.delta is not None, score.key
    assert score.delta_low is not None, score.key
    assert score.delta_high is not None, score.key
    value, low, high = score.delta, score.delta_low, score.delta_high
    if not facts(score.metric).more_is_better:
        value, low, high = -value, -high, -low  # the ends change places, or `low` would be the greater
    return Estimate(value, low, high, n=score.n, p=score.p)


def with_spread(scores: Sequence[Score], others: Sequence[Sequence[Score]]) -> list[Score]:
    """Return the scores with the standard deviation between them and those of other sets of demonstrations, where there are any."""
    values = [{score.key: score.value for score in other} for other in others]
    spreads = []
    for score in scores:
        sets = [score.value, *(other[score.key] for other in values if score.key in other)]
        between = statistics.stdev(sets) if len(sets) > 1 else None
        spreads.append(replace(score, sets=len(sets), over_sets=between))
    return spreads

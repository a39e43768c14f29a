"""The word beside a number: what an interval of a difference allows one to say, and no more.

A change is a tuned score minus the base's on the same items, with its 95 % interval `[low, high]`. A score that was judged
when it was measured keeps that verdict, which is corrected for the number of tasks. For any other, this rule decides:

    lost             the whole interval lies below zero
    gained           the whole interval lies above zero
    kept             otherwise, where the interval excludes a loss of the margin (5 points of 100)
    not resolvable   otherwise: with this many items, neither a loss nor its absence can be told

"Not resolvable" is not "kept": a wide interval around zero is missing evidence, not evidence of nothing missing.
"""

import math
from collections.abc import Iterable

from holdfast.results.scores import Score, Verdict
from holdfast.results.units import factor, is_symptom, sign

MARGIN = 5.0  # points
SHORT: dict[Verdict, str] = {"gained": "gained", "kept": "kept", "lost": "lost", "not resolvable": "unclear"}


def word(low: float, high: float, margin: float) -> Verdict:
    """The verdict on a change whose 95 % interval is `[low, high]`, in the unit of `margin`, where more is better."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "not resolvable"
    if high < 0:
        return "lost"
    if low > 0:
        return "gained"
    return "kept" if low > -margin else "not resolvable"


def of_score(score: Score) -> Verdict | None:
    """The verdict on one score; None for the base, for a symptom, and where no interval of the difference was measured.

    A metric without an upper end has no margin of its own: 5 % of the base's value is taken.
    """
    if score.delta is None or score.delta_low is None or score.delta_high is None or is_symptom(score.metric):
        return None
    if score.verdict:
        return score.verdict
    scale = factor(score.metric, score.value)
    margin = abs(score.value - score.delta) * MARGIN / 100 if scale is None else MARGIN / scale
    low, high = score.delta_low, score.delta_high
    return word(low, high, margin) if sign(score.metric) > 0 else word(-high, -low, margin)


def long(score: Score) -> str:
    """The verdict in full: with the number of items that would tell, where these do not."""
    said = of_score(score)
    if said != "not resolvable":
        return said or ""
    return "not resolvable at this n" + (f" (about {score.needed} would tell)" if score.needed else "")


def corrected(scores: Iterable[Score]) -> bool:
    """Whether the verdicts were corrected for the number of tasks when they were measured."""
    return any(score.verdict for score in scores)

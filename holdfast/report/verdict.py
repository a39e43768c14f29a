"""The word beside a number: what an interval of a difference allows one to say, and no more.

A change is a tuned score minus the base's on the same items, with its 95 % interval `[low, high]`:

    lost      the whole interval lies below zero
    gained    the whole interval lies above zero
    kept      the whole interval lies within the margin around zero (5 points of 100)
    unclear   none of these: with this many items, neither a loss nor its absence can be told

"Unclear" is not "kept": a wide interval around zero is missing evidence, not evidence of nothing missing. Each word is
about one line; over many lines, about one in twenty intervals misses the truth.
"""

import math
from typing import Literal

from holdfast.report.units import factor, is_symptom, sign
from holdfast.scores import Score

MARGIN = 5.0  # points
Word = Literal["gained", "kept", "lost", "unclear"]
LONG: dict[Word, str] = {"gained": "gained", "kept": "kept", "lost": "lost", "unclear": "not resolvable at this n"}


def word(low: float, high: float, margin: float) -> Word:
    """The verdict on a change whose 95 % interval is `[low, high]`, in the unit of `margin`, where more is better."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "unclear"
    if high < 0:
        return "lost"
    if low > 0:
        return "gained"
    return "kept" if -margin <= low and high <= margin else "unclear"


def of_score(score: Score) -> Word | None:
    """The verdict on one score; None for the base, for a symptom, and where no interval of the difference was measured.

    A metric without an upper end has no margin of its own: 5 % of the base's value is taken.
    """
    if score.delta is None or score.delta_low is None or score.delta_high is None or is_symptom(score.metric):
        return None
    scale = factor(score.metric, score.value)
    margin = abs(score.value - score.delta) * MARGIN / 100 if scale is None else MARGIN / scale
    low, high = score.delta_low, score.delta_high
    return word(low, high, margin) if sign(score.metric) > 0 else word(-high, -low, margin)

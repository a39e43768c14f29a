"""A metric's number as a reader sees it: in points of 100, or in its own unit."""

import math

from holdfast.results.metric_facts import facts
from holdfast.results.scores import Score

COUNTS = ("n", "needed", "truncated")  # of items: whole numbers in no unit


def is_symptom(metric: str) -> bool:
    """Return whether the metric describes the answers instead of judging them."""
    return facts(metric).symptom is not None


def meaning(metric: str) -> str:
    """Return what a symptom says, in words."""
    return facts(metric).symptom or metric


def sign(metric: str) -> int:
    """Return +1 where more is better, -1 where less is."""
    return 1 if facts(metric).more_is_better else -1


def factor(metric: str) -> float | None:
    """Return what turns the metric's own unit into points (0 to 100); None where it has no upper end, or none that is known."""
    return facts(metric).points


def about(items: int) -> str:
    """Return a number of items that is an estimate: two digits and zeros, rounded up (2340: 2400)."""
    step = 10 ** max(0, len(str(items)) - 2)
    return str(-(-items // step) * step)


def points(value: float, plus: bool = False) -> str:
    """Return a value in points with one decimal; zero has no sign."""
    text = f"{value:+.1f}" if plus else f"{value:.1f}"
    # After rounding: -0.04 is no loss that one decimal can show.
    return "0.0" if text in ("-0.0", "+0.0") else text


def shown(score: Score, name: str = "value") -> str:
    """Return one of a score's numbers as a reader sees it: points with one decimal, or three digits in its own unit."""
    value = getattr(score, name)
    if name in COUNTS and value is not None:
        return str(value)
    if value is None or not math.isfinite(value):
        return "n/a"
    if name == "p":
        return f"{value:.2g}" if value >= 0.0001 else "<0.0001"
    if name == "chance":
        return points(100 * value)
    scale, plus = factor(score.metric), name in ("delta", "transfer")
    if scale is not None:
        return points(value * scale, plus)
    return f"{value:+.3g}" if plus else f"{value:.3g}"


def with_interval(score: Score, name: str = "value") -> str:
    """Return `value [low, high]`, or the same of `delta` or `transfer`."""
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return f"{shown(score, name)} [{shown(score, low)}, {shown(score, high)}]"

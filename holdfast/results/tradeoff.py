"""The trade-off of a run: what the general tasks keep at each target score on the way, so that strength can be matched.

A single checkpoint says little: a method that trains less forgets less. So runs are compared where they have reached the same
target score, and over all target scores together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.results.scores import Score
from holdfast.results.summary import Summary, share


@dataclass(frozen=True)
class Point:
    """After so many steps of the last stage: score on the target (points, at the fewest shots), retention (per cent of the base's
    mean on general tasks) and share of general answers in the target's format (points). None: not measured, or undefined.
    """

    step: int
    target: float
    retention: float | None
    format_share: float | None = None


def points(scores: Sequence[Score]) -> list[Point]:
    """The course of a run, step 0 (where the model is still the base) first; without points along the way, only its end.

    Behind a prompt that an earlier stage trained, step 0 has that prompt's score; else the base's own.
    """
    end = Summary.of(scores)
    steps = sorted({score.step for score in scores if score.step})
    found = [point for step in steps if (point := _point(Summary.of(scores, step), step))]
    if not steps and (last := _point(end, 1)):
        found = [last]
    first = Summary.of(scores, 0).target_value
    before = first.value if first else _base(end)
    kept = 100.0 if end.retention or not any(line.role == "general" for line in end.lines) else None
    shares = share(end.symptom("format_share"))
    return ([] if before is None else [Point(0, before, kept, shares[0] if shares else None)]) + found


def stage_one(scores: Sequence[Score]) -> float | None:
    """What the prompt of an earlier stage reached alone on the target, in points; None where there was none."""
    found = Summary.of(scores, 0).target_value
    return found.value if found else None


def matched(course: Sequence[Point], level: float) -> float | None:
    """Retention where the target score first reaches `level`, interpolated between the two points around it; None if it never does."""
    for before, after in zip([course[0], *course], course, strict=False):
        if after.target >= level:
            if before.retention is None or after.retention is None:
                return None
            part = (level - before.target) / (after.target - before.target) if after.target > before.target else 1.0
            return before.retention + min(1.0, max(0.0, part)) * (after.retention - before.retention)
    return None


def area(course: Sequence[Point], low: float, high: float) -> float | None:
    """Mean of `matched` over target scores from `low` to `high`, per cent; where the run does not get, nothing is kept (0).

    100 is a run that reaches `high` and keeps everything. The curve is piecewise linear, and so integrated exactly.
    """
    if high <= low or any(point.retention is None for point in course):
        return None
    total, reached = 0.0, low
    previous = course[0]
    if previous.target > low:  # what was there before anything moved
        reached = min(high, previous.target)
        total += (reached - low) * (previous.retention or 0.0)
    for point in course[1:]:
        top = min(high, point.target)
        if top > reached:
            ends = [matched([previous, point], level) or 0.0 for level in (reached, top)]
            total += (top - reached) * sum(ends) / 2
            reached = top
        previous = point
    return total / (high - low)


def _point(summary: Summary, step: int) -> Point | None:
    target, shares = summary.target_value, share(summary.symptom("format_share"))
    if target is None:
        return None
    kept = summary.retention
    return Point(step, target.value, kept.value if kept else None, shares[1] if shares else None)


def _base(summary: Summary) -> float | None:
    value, gain = summary.target_value, summary.gain
    return None if value is None or gain is None else value.value - gain.value

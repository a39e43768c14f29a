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
    """A point of a run's course, after so many steps of the last stage. None: not measured, or undefined.

    `target` is the score on the target (points, at the fewest shots), `retention` per cent of the base's mean on general tasks,
    `format_share` the share of general answers in the target's format (points).
    """

    step: int
    target: float
    retention: float | None
    format_share: float | None = None


def points(scores: Sequence[Score], *, edited: bool = False) -> list[Point]:
    """Return the course of a run, step 0 (where the model is still the base) first; without points along the way, only its end.

    Behind a prompt that an earlier stage trained, step 0 has that prompt's score; else the base's own. The points along the way of a
    run whose weights were `edited` at its end are of another model, the one before the edit, so that its end alone follows.
    """
    end = Summary.of(scores)
    steps = sorted({score.step for score in scores if score.step})
    course = [] if edited else [point for step in steps if (point := _point(Summary.of(scores, step), step))]
    # 1 is no step that was counted: it only has to follow 0 on the axis.
    if (edited or not steps) and (last := _point(end, steps[-1] if steps else 1)):
        course = [last]
    first = Summary.of(scores, 0).target_value
    before = first.value if first else None
    if first is None and end.target_value and end.gain:  # the base's own score: the end's minus the gain
        before = end.target_value.value - end.gain.value
    # At step 0 all is kept by definition; but where the end's retention is undefined, so is a share of the same base here.
    kept = 100.0 if end.retention or not any(line.role == "general" for line in end.lines) else None
    shares = share(end.symptom("format_share"))
    return ([] if before is None else [Point(0, before, kept, shares[0] if shares else None)]) + course


def stage_one(scores: Sequence[Score]) -> float | None:
    """Return the score of an earlier stage's prompt alone on the target, in points; None where there was none."""
    first = Summary.of(scores, 0).target_value
    return first.value if first else None


def matched(course: Sequence[Point], level: float) -> float | None:
    """Return the retention where the target score first reaches `level` (points), interpolated between the two points around it.

    None where it never does, or where the retention is undefined there.
    """
    # The first pair is the start with itself, for a run that has reached the level before any step.
    for before, after in zip([course[0], *course], course, strict=False):
        if after.target >= level:
            if before.retention is None or after.retention is None:
                return None
            part = (level - before.target) / (after.target - before.target) if after.target > before.target else 1.0
            return before.retention + min(1.0, max(0.0, part)) * (after.retention - before.retention)
    return None


def area(course: Sequence[Point], low: float, high: float) -> float | None:
    """Return the mean of `matched` over target scores from `low` to `high`, per cent; a score that is never reached counts 0.

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
        if top > reached:  # a point below an earlier one adds nothing: each score counts where it is first reached
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

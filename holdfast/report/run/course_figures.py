"""The course of training as figures: target score, general tasks and format over steps, and the first two against each other."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.report.chart import line_chart
from holdfast.results import tradeoff, units
from holdfast.results.scores import Score
from holdfast.results.study import Trajectory

MEASURES = {
    "target": "Score on the target, points",
    "retention": "General tasks, % of the base’s mean",
    "format_share": "General answers in the target’s format, %",
}
AXES = {
    "retention": (100.0, (90.0, 100.0)),
    "format_share": (0.0, (0.0, 10.0)),
}  # what to compare with, what is on the axis
STEPS = "steps of the last stage"
SHORT, FEW = 12, 6  # names of at most so many characters, of at most so many arms, stand at their lines; else numbers
NEAREST = 0.13  # of the axis: how close two labels across may be


@dataclass(frozen=True)
class Moment:
    """An arm after so many steps: mean of a measure over its seeds, lowest and highest seed."""

    step: int
    mean: float
    low: float
    high: float


def moments(courses: Sequence[Trajectory], measure: str) -> list[Moment]:
    """One arm's course by a measure, at the steps that all of its seeds reach: further on the mean would be of other seeds."""
    found: dict[int, list[float]] = {}
    for course in courses:
        for point in course.points:
            value = getattr(point, measure)
            if value is not None:
                found.setdefault(point.step, []).append(value)
    most = max(map(len, found.values()), default=0)
    return [
        Moment(step, statistics.fmean(values), min(values), max(values))
        for step, values in sorted(found.items())
        if len(values) == most
    ]


def labels(arms: Sequence[str]) -> list[str]:
    """What stands at each arm's line: its name, or its method where that tells them apart; its number in the table where these are long
    or many.
    """
    methods = [arm.partition("@")[0] for arm in arms]
    names = methods if len(set(methods)) == len(arms) else list(arms)
    return names if len(arms) <= FEW and all(len(name) <= SHORT for name in names) else _numbers(arms)


def _numbers(arms: Sequence[str]) -> list[str]:
    return [str(number) for number in range(1, len(arms) + 1)]


def over_steps(arms: Sequence[str], courses: Sequence[Trajectory]) -> list[line_chart.Panel]:
    """A panel for each measure of one target, a line for each arm that was followed; none where no arm was.

    Steps are on a logarithmic axis that begins at 0, because what is lost is lost early.
    """
    by_arm = {arm: [course for course in courses if course.arm == arm] for arm in arms}
    followed = {arm: own for arm, own in by_arm.items() if _was_followed(own)}
    steps = sorted({p.step for own in followed.values() for course in own for p in course.points})
    if not followed:
        return []
    names, numbers, found = dict(zip(arms, labels(arms), strict=True)), {arm: i for i, arm in enumerate(arms)}, []
    for measure, title in MEASURES.items():
        courses_of = {arm: moments(own, measure) for arm, own in followed.items()}
        drawn = [
            line_chart.Curve(
                names[arm], numbers[arm], [line_chart.Place(place(m.step, steps), m.mean, m.low, m.high) for m in own]
            )
            for arm, own in courses_of.items()
            if len(own) > 1
        ]
        if drawn:
            said = "; ".join(_said(arm, own, len(drawn)) for arm, own in courses_of.items() if len(own) > 1)
            zero, holds = AXES.get(measure, (None, ()))
            found.append(line_chart.Panel(title, STEPS, drawn, f"Over {STEPS}. {said}.", ticks(steps), zero, holds))
    return found


def of_run(scores: Sequence[Score]) -> list[line_chart.Panel]:
    """The same of one run, where it was measured on the way."""
    return over_steps([""], [Trajectory("", "", 0, None, tradeoff.points(scores))])


def trade_off(scores: Sequence[Score]) -> line_chart.Panel | None:
    """What one run keeps at each target score on its way; None where it was not followed, or never moved by a point."""
    points = [point for point in tradeoff.points(scores) if point.retention is not None]
    targets = [point.target for point in points]
    if len(points) < 3 or max(targets) - min(targets) < 1:
        return None
    places = [line_chart.Place(p.target, p.retention or 0.0, p.retention or 0.0, p.retention or 0.0) for p in points]
    said = "; ".join(
        f"step {p.step}: target {units.points(p.target)}, keeps {units.points(p.retention or 0.0)} %" for p in points
    )
    return line_chart.Panel(
        MEASURES["retention"],
        "score on the target, points",
        [line_chart.Curve("", 0, places)],
        f"{said}.",
        None,
        *AXES["retention"],
    )


def against(
    arms: Sequence[str], courses: Sequence[Trajectory], names: Sequence[str] | None = None
) -> line_chart.Panel | None:
    """Retention against target score along training, a line for each arm (means over seeds at each step); None without retention.

    `names` stand at the lines; without them, `labels`.
    """
    drawn, said = [], []
    for number, (arm, label) in enumerate(zip(arms, names or labels(arms), strict=True)):
        own = [course for course in courses if course.arm == arm]
        scores = {m.step: m.mean for m in moments(own, "target")}
        places = [
            line_chart.Place(scores[m.step], m.mean, m.mean, m.mean)
            for m in moments(own, "retention")
            if m.step in scores
        ]
        if places:
            drawn.append(line_chart.Curve(label, number, places))
            end = places[-1]
            said.append(f"{arm}: target {units.points(end.x)}, keeps {units.points(end.y)} %")
    if not drawn:
        return None
    return line_chart.Panel(
        MEASURES["retention"], "score on the target, points", drawn, "; ".join(said) + ".", None, *AXES["retention"]
    )


def key(arms: Sequence[str]) -> list[line_chart.Curve]:
    """The arms with their numbers, where numbers stand at their lines."""
    shown = labels(arms)
    if shown != _numbers(arms):
        return []
    return [
        line_chart.Curve(f"{label}  {arm}", number, ())
        for number, (label, arm) in enumerate(zip(shown, arms, strict=True))
    ]


def table(arms: Sequence[str], courses: Sequence[Trajectory]) -> list[tuple[str, int, list[Moment | None]]]:
    """(arm, step, a moment of each measure): the numbers of the figures."""
    found = []
    for arm in arms:
        own = [course for course in courses if course.arm == arm]
        columns = [{m.step: m for m in moments(own, measure)} for measure in MEASURES]
        for step in sorted(set().union(*columns)):
            found.append((arm, step, [column.get(step) for column in columns]))
    return found


def place(step: int, steps: Sequence[int]) -> float:
    """Where a step stands across: 0 at 0, 1 at the first step measured, and equal factors equally far apart."""
    return math.log2(1 + step / next(s for s in steps if s))


def ticks(steps: Sequence[int]) -> list[tuple[float, str]]:
    """The steps that were measured as labels, the last and the first always, others where there is room."""
    end = place(steps[-1], steps)
    kept = [steps[-1]]
    for step in reversed(steps[:-1]):
        far = place(kept[-1], steps) - place(step, steps) >= NEAREST * end
        if far and (step == steps[0] or place(step, steps) >= NEAREST * end):
            kept.append(step)
    return [(place(step, steps), str(step)) for step in reversed(kept)]


def _was_followed(courses: Sequence[Trajectory]) -> bool:
    """Whether there is more than a start and an end: the end of a run without points on the way is written as step 1."""
    return any(course.points and course.points[-1].step > 1 for course in courses)


def _said(arm: str, found: Sequence[Moment], arms: int) -> str:
    found = found if arms <= 2 else [found[0], found[-1]]
    values = ", ".join(f"{units.points(m.mean)} at step {m.step}" for m in found)
    return f"{arm}: {values}" if arm else values

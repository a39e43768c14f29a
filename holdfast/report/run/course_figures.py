"""The course of training as figures: target score, general tasks and format over steps, and the first two against each other."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from holdfast.report.chart import line_chart
from holdfast.results import tradeoff, units
from holdfast.results.scores import Score
from holdfast.results.study import Trajectory

MEASURES = {
    "target": "Score on the target, points",
    "retention": "General tasks, % of the base’s mean",
    "format_share": "General answers in the target’s format, %",
}
# The height to compare with, and heights that are on the axis in any case: a fall from 100 % to 99.8 % must not fill a panel.
AXES = {
    "retention": (100.0, (90.0, 100.0)),
    "format_share": (0.0, (0.0, 10.0)),
}
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
    """Return one arm's course by a measure, at the steps that all of its seeds reach: further on the mean would be of other seeds."""
    by_step: dict[int, list[float]] = {}
    for course in courses:
        for point in course.points:
            value = getattr(point, measure)
            if value is not None:
                by_step.setdefault(point.step, []).append(value)
    most = max(map(len, by_step.values()), default=0)
    return [
        Moment(step, statistics.fmean(values), min(values), max(values))
        for step, values in sorted(by_step.items())
        if len(values) == most
    ]


def labels(arms: Sequence[str]) -> list[str]:
    """Return the label at each arm's line: its method where no two arms share one, else its name; of long or many names, its number."""
    methods = [arm.partition("@")[0] for arm in arms]
    names = methods if len(set(methods)) == len(arms) else list(arms)
    return names if len(arms) <= FEW and all(len(name) <= SHORT for name in names) else _numbers(arms)


def _numbers(arms: Sequence[str]) -> list[str]:
    return [str(number) for number in range(1, len(arms) + 1)]


def over_steps(arms: Sequence[str], courses: Sequence[Trajectory]) -> list[line_chart.Panel]:
    """Return a panel for each measure of one target, a line for each arm that was followed; none where no arm was.

    Steps are on a logarithmic axis that begins at 0, because what is lost is lost early.
    """
    by_arm = {arm: [course for course in courses if course.arm == arm] for arm in arms}
    followed = {arm: group for arm, group in by_arm.items() if _was_followed(group)}
    if not followed:
        return []
    shown = chain.from_iterable(course.points for course in chain.from_iterable(followed.values()))
    steps = sorted({point.step for point in shown})
    names, panels = dict(zip(arms, labels(arms), strict=True)), []
    # Numbers by the arms' order and not by the lines': an arm has one colour in all panels, whichever lines are missing.
    numbers = {arm: number for number, arm in enumerate(arms)}
    for measure, title in MEASURES.items():
        paths = {arm: moments(group, measure) for arm, group in followed.items()}
        paths = {arm: path for arm, path in paths.items() if len(path) > 1}
        drawn = []
        for arm, path in paths.items():
            points = [line_chart.CurvePoint(position(m.step, steps), m.mean, m.low, m.high) for m in path]
            drawn.append(line_chart.Curve(names[arm], numbers[arm], points))
        if drawn:
            text = "; ".join(_path_text(arm, path, len(drawn)) for arm, path in paths.items())
            zero, holds = AXES.get(measure, (None, ()))
            panels.append(line_chart.Panel(title, STEPS, drawn, f"Over {STEPS}. {text}.", ticks(steps), zero, holds))
    return panels


def of_run(scores: Sequence[Score]) -> list[line_chart.Panel]:
    """Return the panels of one run, where it was measured on the way; the only line needs no name."""
    return over_steps([""], [Trajectory("", "", 0, None, tradeoff.points(scores))])


def trade_off(scores: Sequence[Score]) -> line_chart.Panel | None:
    """Return the retention of one run against its target score; None where it was not followed, or never moved by a point."""
    points = [point for point in tradeoff.points(scores) if point.retention is not None]
    targets = [point.target for point in points]
    if len(points) < 3 or max(targets) - min(targets) < 1:
        return None
    path = [line_chart.CurvePoint(p.target, p.retention or 0.0, p.retention or 0.0, p.retention or 0.0) for p in points]
    text = "; ".join(
        f"step {p.step}: target {units.points(p.target)}, keeps {units.points(p.retention or 0.0)} %" for p in points
    )
    return line_chart.Panel(
        MEASURES["retention"],
        "score on the target, points",
        [line_chart.Curve("", 0, path)],
        f"{text}.",
        None,
        *AXES["retention"],
    )


def against(
    arms: Sequence[str], courses: Sequence[Trajectory], names: Sequence[str] | None = None
) -> line_chart.Panel | None:
    """Return retention against target score along training, a line for each arm (means over seeds at each step); None without retention.

    `names` stand at the lines; without them, `labels`.
    """
    drawn, texts = [], []
    for number, (arm, label) in enumerate(zip(arms, names or labels(arms), strict=True)):
        arm_courses = [course for course in courses if course.arm == arm]
        scores = {m.step: m.mean for m in moments(arm_courses, "target")}
        path = [
            line_chart.CurvePoint(scores[m.step], m.mean, m.mean, m.mean)
            for m in moments(arm_courses, "retention")
            if m.step in scores
        ]
        if path:  # in the order of the steps and not of the scores: where a run turns back, the line must show it
            drawn.append(line_chart.Curve(label, number, path))
            end = path[-1]
            texts.append(f"{arm}: target {units.points(end.x)}, keeps {units.points(end.y)} %")
    if not drawn:
        return None
    return line_chart.Panel(
        MEASURES["retention"], "score on the target, points", drawn, "; ".join(texts) + ".", None, *AXES["retention"]
    )


def key(arms: Sequence[str]) -> list[line_chart.Curve]:
    """Return the arms with their numbers, where numbers stand at their lines; empty where names do."""
    shown = labels(arms)
    if shown != _numbers(arms):
        return []
    return [
        line_chart.Curve(f"{label}  {arm}", number, ())
        for number, (label, arm) in enumerate(zip(shown, arms, strict=True))
    ]


def table(arms: Sequence[str], courses: Sequence[Trajectory]) -> list[tuple[str, int, list[Moment | None]]]:
    """Return (arm, step, a moment of each measure): the numbers of the figures."""
    rows = []
    for arm in arms:
        arm_courses = [course for course in courses if course.arm == arm]
        columns = [{m.step: m for m in moments(arm_courses, measure)} for measure in MEASURES]
        for step in sorted(set().union(*columns)):
            rows.append((arm, step, [column.get(step) for column in columns]))
    return rows


def position(step: int, steps: Sequence[int]) -> float:
    """Return the position of a step across: 0 at 0, 1 at the first step measured, and equal distances for equal factors."""
    # 1 +: step 0 has no logarithm, and must be on the axis, because there the model is still the base.
    return math.log2(1 + step / next(s for s in steps if s))


def ticks(steps: Sequence[int]) -> list[tuple[float, str]]:
    """Return the steps that were measured as labels, the last and the first always, others where there is room."""
    end = position(steps[-1], steps)
    kept = [steps[-1]]
    # From the right, where the logarithm crowds the steps and a label that is drawn decides about its neighbours.
    for step in reversed(steps[:-1]):
        far = position(kept[-1], steps) - position(step, steps) >= NEAREST * end
        if far and (step == steps[0] or position(step, steps) >= NEAREST * end):
            kept.append(step)
    return [(position(step, steps), str(step)) for step in reversed(kept)]


def _was_followed(courses: Sequence[Trajectory]) -> bool:
    """Return whether there is more than a start and an end."""
    # The end of a run without points on the way is written as step 1.
    return any(course.points and course.points[-1].step > 1 for course in courses)


def _path_text(arm: str, path: Sequence[Moment], arms: int) -> str:
    path = path if arms <= 2 else [path[0], path[-1]]
    values = ", ".join(f"{units.points(m.mean)} at step {m.step}" for m in path)
    return f"{arm}: {values}" if arm else values

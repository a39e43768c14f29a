"""The figures of the page of several runs: the verdict on all in a sentence, their changes on one axis, the map of tasks and runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from markupsafe import Markup

from holdfast.report.chart import line_chart, svg
from holdfast.report.compare.compare import Side, general_first
from holdfast.report.run import course_figures, figures
from holdfast.report.sentences import Number, Piece
from holdfast.results import tradeoff, units, verdicts
from holdfast.results.run_folder import Folder
from holdfast.results.study import Trajectory
from holdfast.results.summary import Summary, change

NAMED, DRAWN = 3, 6  # runs that the sentence names one by one, and that share the rows of the forest plot


@dataclass(frozen=True)
class ComparedRow:
    """A (task, shots) of the forest plot, with a mark for each run that measured it."""

    side: Side
    drawing: Markup
    first: bool


@dataclass(frozen=True)
class ComparedPlot:
    """Rows under headings on one axis, and those of tasks that every run kept, with the line that says so."""

    groups: list[tuple[str, list[ComparedRow]]]
    axis: Markup
    folded: list[ComparedRow]
    folded_text: str


def lead(runs: Sequence[Folder], summaries: Sequence[Summary]) -> list[Piece]:
    """Return the runs' gains and retention in one sentence: each of a few, of many the one that keeps most and the one that gains most."""
    if len(runs) <= NAMED:
        pieces: list[Piece] = []
        for run, summary in zip(runs, summaries, strict=True):
            pieces += ["; " if pieces else "", run.name, *_gain_and_retention(summary)]
        return [*pieces, "."]
    both = [(s.retention.value, s.gain.value, index) for index, s in enumerate(summaries) if s.retention and s.gain]
    if not both:
        return ["What each run gained on its target, and what it keeps of the rest."]
    kept, gain, best = max(both)  # of equal retention, the larger gain
    start = ["Of ", Number(str(len(runs)), "runs"), f" runs, {best + 1} ({runs[best].name}) keeps most, "]
    sentence = [
        *start,
        Number(f"{units.points(kept)} %", "retention"),
        ", and gained ",
        Number(units.points(gain), "gain"),
        " points",
    ]
    gain, kept, most = max((gain, kept, index) for kept, gain, index in both)
    if len({line.task for line in chain.from_iterable(s.by_own_metric("target") for s in summaries)}) > 1:
        return [*sentence, "."]  # gains on different targets do not compare
    if most == best:
        return [*sentence, ", which no other exceeds."]
    end = [" points, and keeps ", Number(f"{units.points(kept)} %", "retention"), "."]
    return [*sentence, f"; {most + 1} ({runs[most].name}) gained most, ", Number(units.points(gain), "gain"), *end]


def forest(sides: Sequence[Side]) -> ComparedPlot | None:
    """Return every run's change on the same axis, a line for each.

    None of more than `DRAWN` runs, or where no change was measured.
    """
    measured = [side for side in sides if any(line and change(line.headline) for line in side.lines)]
    if not measured or len(measured[0].lines) > DRAWN:
        return None
    lines = chain.from_iterable(side.lines for side in measured)
    estimates = [moved for line in lines if line and (moved := change(line.headline))]
    scale = figures.change_scale(estimates)
    general = general_first(measured)
    groups = [("Target", [side for side in measured if side.role == "target"]), ("General tasks", general.shown)]
    return ComparedPlot(
        [(name, _rows(group, scale)) for name, group in groups if group],
        svg.axis(scale),
        _rows(general.unchanged, scale),
        general.text,
    )


def _rows(sides: Sequence[Side], scale: svg.Scale) -> list[ComparedRow]:
    rows: list[ComparedRow] = []
    for side in sides:
        drawing = svg.track(_marks(side), scale, band=verdicts.POINTS)
        rows.append(ComparedRow(side, drawing, not rows or rows[-1].side.task != side.task))
    return rows


def heat(sides: Sequence[Side]) -> list[tuple[Side, list[figures.HeatCell]]]:
    """Return tasks and shots by runs: the change of each, tinted by its share of the largest."""
    scores = [line.headline for line in chain.from_iterable(side.lines for side in sides) if line]
    largest = figures.largest_change([moved for score in scores if (moved := change(score))])
    return [(side, [figures.cell(line.headline if line else None, largest) for line in side.lines]) for side in sides]


def trade_off(summaries: Sequence[Summary]) -> Markup | None:
    """Return the target's score against the mean change on general tasks, one point per run; None where no run has both."""
    points = []
    for number, summary in enumerate(summaries, 1):
        up, across = summary.target_value, summary.general_change
        if up and across:
            points.append(
                svg.ScatterPoint(str(number), (across.value, across.low, across.high), (up.value, up.low, up.high))
            )
    if not points:
        return None
    described = "; ".join(
        f"run {p.label}: general change {units.points(p.across[0], True)}, target {units.points(p.up[0])}"
        for p in points
    )
    return svg.scatter(points, title="Target score against mean change on general tasks", description=described + ".")


def courses(runs: Sequence[Folder]) -> tuple[line_chart.Panel, list[line_chart.Curve]] | None:
    """Return (figure, key): each run's retention at each target score on its way; None where no run has points on the way."""
    names = [f"{number} {run.name}" for number, run in enumerate(runs, 1)]
    trajectories = [
        Trajectory("", name, 0, None, tradeoff.points(run.scores, edited=run.edited))
        for name, run in zip(names, runs, strict=True)
    ]
    # A start and an end alone are on the scatter plot already.
    if not any(len(course.points) > 2 for course in trajectories):
        return None
    panel = course_figures.against(names, trajectories, [str(number) for number in range(1, len(runs) + 1)])
    return (panel, [line_chart.Curve(name, number, ()) for number, name in enumerate(names)]) if panel else None


def _gain_and_retention(summary: Summary) -> list[Piece]:
    gain, kept = summary.gain, summary.retention
    pieces: list[Piece] = []
    if gain:
        verb = " gained " if gain.value >= 0 else " lost "
        pieces += [verb, Number(units.points(abs(gain.value)), "gain"), " points"]
    if kept:
        pieces += [" and" if gain else "", " keeps ", Number(f"{units.points(kept.value)} %", "retention")]
    return pieces or [" has nothing to compare"]


def _marks(side: Side) -> list[svg.Mark]:
    """Return a mark for each run that measured it, in the runs' order."""
    marks = []
    for line in side.lines:
        if line and (moved := change(line.headline)):
            css_class = line.verdict or "neutral"
            marks.append(svg.Mark(moved.value, moved.low, moved.high, "filled", css_class))
    return marks

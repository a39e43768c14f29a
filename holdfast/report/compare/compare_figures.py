"""What the page of several runs shows: the verdict on all in a sentence, their changes on one axis, and the map of tasks and runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from holdfast.report.chart import line_chart, svg
from holdfast.report.compare.compare import Side
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


def lead(runs: Sequence[Folder], summaries: Sequence[Summary]) -> list[Piece]:
    """What the runs gained and keep, in one sentence: each of a few, of many the one that keeps most beside the one that gains most."""
    if len(runs) <= NAMED:
        pieces: list[Piece] = []
        for run, summary in zip(runs, summaries, strict=True):
            pieces += ["; " if pieces else "", run.name, *_said(summary)]
        return [*pieces, "."]
    both = [(s.retention.value, s.gain.value, place) for place, s in enumerate(summaries) if s.retention and s.gain]
    if not both:
        return ["What each run gained on its target, and what it keeps of the rest."]
    kept, gain, best = max(both)
    start = ["Of ", Number(str(len(runs)), "runs"), f" runs, {best + 1} ({runs[best].name}) keeps most, "]
    found = [
        *start,
        Number(f"{units.points(kept)} %", "retention"),
        ", and gained ",
        Number(units.points(gain), "gain"),
        " points",
    ]
    gain, kept, most = max((gain, kept, place) for kept, gain, place in both)
    if len({line.task for s in summaries for line in s.first_metric("target")}) > 1:
        return [*found, "."]  # gains on different targets do not compare
    if most == best:
        return [*found, ", which no other exceeds."]
    end = [" points, and keeps ", Number(f"{units.points(kept)} %", "retention"), "."]
    return [*found, f"; {most + 1} ({runs[most].name}) gained most, ", Number(units.points(gain), "gain"), *end]


def forest(sides: Sequence[Side]) -> tuple[list[tuple[str, list[ComparedRow]]], Markup] | None:
    """(groups of rows, axis): every run's change on the same axis, a line for each; None of too many runs, or where nothing changed."""
    shown = [side for side in sides if any(line and change(line.headline) for line in side.lines)]
    if not shown or len(shown[0].lines) > DRAWN:
        return None
    estimates = [found for side in shown for line in side.lines if line and (found := change(line.headline))]
    limits = [limit for found in estimates for limit in (found.low, found.high)]
    scale = svg.Scale.around([-verdicts.POINTS, verdicts.POINTS, *limits])
    groups: dict[str, list[ComparedRow]] = {}
    for side in shown:
        rows = groups.setdefault("Target" if side.role == "target" else "General tasks", [])
        drawing = svg.track(_marks(side), scale, band=verdicts.POINTS)
        rows.append(ComparedRow(side, drawing, not rows or rows[-1].side.task != side.task))
    return list(groups.items()), svg.axis(scale)


def heat(sides: Sequence[Side]) -> list[tuple[Side, list[figures.HeatCell]]]:
    """Tasks and shots by runs: the change of each, tinted by its share of the largest."""
    scores = [line.headline for side in sides for line in side.lines if line]
    largest = max((abs(found.value) for score in scores if (found := change(score))), default=0.0) or 1.0
    return [(side, [figures.cell(line.headline if line else None, largest) for line in side.lines]) for side in sides]


def courses(runs: Sequence[Folder]) -> tuple[line_chart.Panel, list[line_chart.Curve]] | None:
    """(figure, key): what each run keeps at each target score on its way; None where none was followed."""
    names = [f"{number} {run.name}" for number, run in enumerate(runs, 1)]
    found = [Trajectory("", name, 0, None, tradeoff.points(run.scores)) for name, run in zip(names, runs, strict=True)]
    if not any(len(course.points) > 2 for course in found):
        return None
    panel = course_figures.against(names, found, [str(number) for number in range(1, len(runs) + 1)])
    return (panel, [line_chart.Curve(name, number, ()) for number, name in enumerate(names)]) if panel else None


def _said(summary: Summary) -> list[Piece]:
    gain, kept = summary.gain, summary.retention
    found: list[Piece] = []
    if gain:
        verb = " gained " if gain.value >= 0 else " lost "
        found += [verb, Number(units.points(abs(gain.value)), "gain"), " points"]
    if kept:
        found += [" and" if gain else "", " keeps ", Number(f"{units.points(kept.value)} %", "retention")]
    return found or [" has nothing to compare"]


def _marks(side: Side) -> list[svg.Mark]:
    """A mark for each run that measured it, in the runs' order."""
    found = []
    for line in side.lines:
        score = line.headline if line else None
        if score and (moved := change(score)):
            said = verdicts.of_score(score)
            kind = verdicts.SHORT[said] if said else "neutral"
            found.append(svg.Mark(moved.value, moved.low, moved.high, "filled", kind))
    return found

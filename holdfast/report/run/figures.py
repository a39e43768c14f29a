"""The figures of the page of a run: from a summary or a log to rows for the templates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from markupsafe import Markup

from holdfast.report.chart import svg
from holdfast.report.fold import folded, of_line
from holdfast.results import units, verdicts
from holdfast.results.scores import Score, Verdict
from holdfast.results.summary import STATE, Estimate, Summary, TaskResult, change

SHAPE: dict[str | None, str] = {"on": "filled", None: "filled", "off": "open"}


@dataclass(frozen=True)
class Reading:
    """One tuned score of a row: which state it is, its verdict, and whether it is the one that counts for its task."""

    score: Score
    state: str
    shape: str
    word: Verdict | None
    counts: bool


@dataclass(frozen=True)
class ForestRow:
    """A line of the forest plot, or of a symptom's plot, with its drawing."""

    line: TaskResult
    readings: list[Reading]
    drawing: Markup
    # whether the row above is of another task; where it is not, the name is only for who cannot see that row
    first: bool


@dataclass(frozen=True)
class Plot:
    """Rows on one axis, under headings."""

    groups: list[tuple[str, list[ForestRow]]]
    axis: Markup
    states: list[tuple[str, str]]  # (name, shape), for the key
    # rows of tasks that are unchanged, and the line that says so
    folded: list[ForestRow] = field(default_factory=list)
    folded_text: str = ""


def readings(line: TaskResult) -> list[Reading]:
    """Return the tuned scores of a line, prompt attached first."""
    return [
        Reading(
            line.tuned[state],
            name,
            SHAPE[state],
            None if line.floored else verdicts.of_score(line.tuned[state]),
            line.tuned[state] is line.headline,
        )
        for state, name in STATE.items()
        if state in line.tuned
    ]


def forest(groups: Sequence[tuple[str, Sequence[TaskResult]]]) -> Plot | None:
    """Return changes with their intervals, one row per (task, shots), under the groups' headings; None without any change in points."""
    groups = [(heading, [line for line in rows if any(map(change, line.tuned.values()))]) for heading, rows in groups]
    lines = list(chain.from_iterable(rows for _, rows in groups))
    estimates = _estimates(lines)
    if not estimates:
        return None
    scale = change_scale(estimates)
    drawings = [svg.track(_changes(line), scale, band=verdicts.POINTS) for line in lines]
    return _plot(groups, drawings, svg.axis(scale))


def change_scale(estimates: Sequence[Estimate]) -> svg.Scale:
    """Return one scale for changes and their intervals, so that lengths compare."""
    limits = [*(estimate.low for estimate in estimates), *(estimate.high for estimate in estimates)]
    # With the margin on both sides: differences that no verdict counts must look small.
    return svg.Scale.around([-verdicts.POINTS, verdicts.POINTS, *limits])


def forest_of_run(summary: Summary) -> Plot | None:
    """Return each task's change by its own metric, under headings: the target's, the general tasks', and those that count in no mean.

    Of many general tasks, those that are unchanged stand in a list of their own, on the same axis.
    """
    general = folded(summary.counted, of_line)
    groups = [("Target", summary.by_own_metric("target")), ("General tasks", general.rows)]
    plot = forest([*groups, ("General tasks, base not shown to be above chance: in no mean", summary.floored)])
    if plot is None or not general.unchanged:
        return plot
    same = {line.task for line in general.unchanged}
    parted = [(name, [row for row in rows if row.line.task not in same]) for name, rows in plot.groups]
    rows = [row for row in chain.from_iterable(rows for _, rows in plot.groups) if row.line.task in same]
    return replace(plot, groups=[group for group in parted if group[1]], folded=rows, folded_text=general.text)


def _estimates(lines: Sequence[TaskResult]) -> list[Estimate]:
    """Return the changes of the lines in every state of the tuned model, those that are in points."""
    scores = chain.from_iterable(line.tuned.values() for line in lines)
    return [estimate for score in scores if (estimate := change(score))]


def symptom(summary: Summary, metric: str) -> Plot | None:
    """Return a symptom on general tasks, base against tuned, from 0 to 100; None where it has no upper end."""
    lines = [line for line in summary.symptom(metric) if line.base and line.tuned]
    if not lines or units.factor(metric) is None:
        return None
    scale = svg.Scale(-2.0, 102.0)  # a little more than 0 to 100, for the marks at the ends to be whole
    drawings = []
    for line in lines:
        assert line.base is not None
        states = readings(line)
        # The base again on each line: a reader compares two marks on one line, and not over several.
        marks = [_value_mark(line.base, "bar", "base") for _ in states]
        marks += [_value_mark(r.score, r.shape, "neutral", r.counts) for r in states]
        drawings.append(svg.track(marks, scale, lines=[*range(len(states)), *range(len(states))]))
    return _plot([("General tasks", lines)], drawings, svg.axis(scale, plus=False))


@dataclass(frozen=True)
class Sign:
    """A symptom's means over the general tasks: the base's, and one for each state of the tuned model."""

    metric: str
    meaning: str
    means: list[str]


@dataclass(frozen=True)
class SignTable:
    """Symptoms by the states of the model."""

    columns: list[str]
    rows: list[Sign]


def signs(summary: Summary) -> SignTable:
    """Return every symptom, averaged over general tasks and shots. A mean leaves out lines that lack a column."""
    by_metric = {metric: summary.symptom(metric) for metric in summary.symptoms}
    measured = set(chain.from_iterable(line.tuned for line in chain.from_iterable(by_metric.values())))
    states = [state for state in STATE if state in measured]
    rows = []
    for metric, lines in by_metric.items():
        columns = [[line.base for line in lines], *([line.tuned.get(state) for line in lines] for state in states)]
        rows.append(Sign(metric, units.meaning(metric), [_mean_text([s for s in scores if s]) for scores in columns]))
    return SignTable(["base", *(STATE[state] for state in states)], rows)


@dataclass(frozen=True)
class MeanRow:
    """A mean over the general tasks, in points: the base's, the tuned model's, and the change."""

    name: str
    base: float
    tuned: float

    @property
    def change(self) -> float:
        return self.tuned - self.base


def means(summary: Summary) -> list[MeanRow]:
    """Return the general tasks as one number: the plain mean, and that of what is above chance; nothing where nothing was compared."""
    if summary.mean_scores is None:
        return []
    plain, corrected = summary.mean_scores
    return [MeanRow("Plain mean", *plain), MeanRow("Corrected for chance", *corrected)]


def _mean_text(scores: Sequence[Score]) -> str:
    if not scores:
        return "–"
    mean = math.fsum(score.value for score in scores) / len(scores)
    scale = units.factor(scores[0].metric)
    return f"{mean:.2f}" if scale is None else units.points(mean * scale)


@dataclass(frozen=True)
class HeatCell:
    """A cell of the heat map: the score, its verdict and its tint from -100 (lost) to 100 (gained)."""

    score: Score | None
    word: Verdict | None
    tint: int


@dataclass(frozen=True)
class HeatRow:
    """A task on the heat map: its cells by the state of the model, then by the number of shots."""

    task: str
    role: str
    cells: list[list[HeatCell]]


@dataclass(frozen=True)
class HeatMap:
    """Tasks by states of the model and shots."""

    states: list[str]
    shots: list[int]
    rows: list[HeatRow]


def heat(summary: Summary) -> HeatMap:
    """Return the change of each task's own metric as a map.

    The tint is the change over the largest change of the map, so that it shows where, and the number says how much.
    """
    lines = [line for line in (*summary.by_own_metric("target"), *summary.by_own_metric("general")) if line.tuned]
    states = [state for state in STATE if any(state in line.tuned for line in lines)]
    shots = sorted({line.shots for line in lines})
    by_key = {(line.task, line.shots): line for line in lines}
    largest = largest_change(_estimates(lines))
    rows = []
    for task, role in dict.fromkeys((line.task, line.role) for line in lines):
        # A task need not have been asked at every number of shots: an empty cell keeps the columns in line.
        row = [by_key.get((task, count)) for count in shots]
        cells = [[cell(line.tuned.get(state) if line else None, largest) for line in row] for state in states]
        rows.append(HeatRow(task, role, cells))
    return HeatMap([STATE[state] for state in states], shots, rows)


@dataclass(frozen=True)
class TrainingCurve:
    """A number over the steps of a stage; no drawing where it was measured once."""

    name: str
    drawing: Markup
    first: float
    last: float
    best: float


@dataclass(frozen=True)
class StageCurves:
    """The curves of one training stage."""

    stage: str
    curves: list[TrainingCurve]


def curves(log: Sequence[Mapping[str, Any]]) -> list[StageCurves]:
    """Return the loss of each stage, and its validation metric where that was measured."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for record in log:
        stages.setdefault(str(record.get("stage", "training")), []).append(record)
    by_stage = []
    for stage, records in stages.items():
        losses = [(r["step"], r["loss"]) for r in records if "loss" in r]
        checks = [(r["step"], r["validation"]) for r in records if "validation" in r]
        metric = next((str(r["metric"]) for r in records if "metric" in r), "score")
        drawn = [_curve(stage, "training loss", losses, least=True)] if losses else []
        if checks:
            scale = units.factor(metric)
            inside = [(step, value * (scale or 1.0)) for step, value in checks]
            name = f"validation {metric}{', points of 100' if scale else ''}"
            drawn.append(_curve(stage, name, inside, least=units.sign(metric) < 0))
        by_stage.append(StageCurves(stage, drawn))
    return by_stage


def _curve(stage: str, name: str, points: list[tuple[float, float]], *, least: bool) -> TrainingCurve:
    values = [y for _, y in points]
    first, last = values[0], values[-1]
    drawing = Markup("")
    if len(points) > 1:  # A curve through one point is none; its numbers are in the text.
        thinned, title = thin(points), f"{name.capitalize()} of stage {stage}"
        described = f"From {first:.3g} at step {points[0][0]} to {last:.3g} at step {points[-1][0]}."
        drawing = svg.curve(thinned, title=title, description=described, dots=len(thinned) <= 30)
    return TrainingCurve(name, drawing, first, last, min(values) if least else max(values))


def thin(points: list[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """Return at most about `most` of many points, the first and the last among them."""
    step = -(-len(points) // most)  # rounded up, so that 401 points become 201 and not 401
    kept = points[::step]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _plot(groups: Sequence[tuple[str, Sequence[TaskResult]]], drawings: Sequence[Markup], axis: Markup) -> Plot:
    drawn, rows = iter(drawings), []
    for heading, lines in groups:
        before = [None, *(line.task for line in lines)]  # one longer than the lines: the task of the row above each
        forest_rows = [
            ForestRow(line, readings(line), next(drawn), line.task != task)
            for line, task in zip(lines, before, strict=False)
        ]
        rows += [(heading, forest_rows)] if forest_rows else []
    measured = set(chain.from_iterable(line.tuned for line in chain.from_iterable(lines for _, lines in groups)))
    states = [state for state in STATE if state in measured]
    return Plot(rows, axis, [(STATE[state], SHAPE[state]) for state in states])


def _changes(line: TaskResult) -> list[svg.Mark]:
    marks = []
    for reading in readings(line):
        # A state without a change (a metric without points) keeps its line in the row, with a mark at zero and no interval.
        estimate = change(reading.score) or Estimate(0.0, 0.0, 0.0)
        marks.append(_mark(estimate, reading.shape, reading.word or "neutral", reading.counts))
    return marks


def _value_mark(score: Score, shape: str, css_class: str, strong: bool = True) -> svg.Mark:
    scale = units.factor(score.metric) or 1.0
    return _mark(Estimate(score.value, score.low, score.high).scaled(scale), shape, css_class, strong)


def _mark(estimate: Estimate, shape: Any, css_class: str, strong: bool) -> svg.Mark:
    return svg.Mark(estimate.value, estimate.low, estimate.high, shape, css_class, strong)


def largest_change(estimates: Sequence[Estimate]) -> float:
    """Return the size of the largest change, for the cells of a map to be divided by."""
    return max((abs(estimate.value) for estimate in estimates), default=0.0) or 1.0  # where nothing changed, not 0


def cell(score: Score | None, largest: float) -> HeatCell:
    """Return a score's cell on a map whose largest change is `largest` points."""
    estimate = change(score)
    # By the sign of the metric: a tint says better or worse, and a fall of a perplexity is better.
    tint = round(100 * estimate.value / largest) * units.sign(score.metric) if estimate and score else 0
    return HeatCell(score, verdicts.of_score(score) if score else None, tint)

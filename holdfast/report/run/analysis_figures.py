"""The analyses as figures: alignment of gradients, drift of each block, label mass and format share over steps or blocks."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, product
from statistics import fmean

from holdfast import plugins
from holdfast.report import sentences
from holdfast.report.chart import line_chart
from holdfast.report.run import course_figures
from holdfast.results.measure_panel import MeasurePanel
from holdfast.results.run_folder import FindingRecord
from holdfast.results.study import AnalysisPoint

MOST = 6  # lines in a panel; of more blocks, as many evenly spaced ones, the first and the last among them
BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)(?:\.|$)")
STATES = {"off": "prompt removed", "on": "prompt attached"}


def _line(panel: MeasurePanel, record: FindingRecord) -> str:
    """Return the line of a panel to which a finding belongs."""
    if panel.line == "state":
        return _state(record.measure)
    if panel.line == "where":
        return record.where
    match = BLOCK.search(record.where)
    # One line for all that is no block: embeddings, head and last norm have no depth by which they could be ordered.
    return f"block {match[1]}" if match else "outside"


def _state(measure: str) -> str:
    return STATES[measure.rpartition("_")[2]]


@cache
def declared(analysis: str) -> tuple[MeasurePanel, ...]:
    """Return the panels that the file of an analysis declares, from its text; none of a user's own analysis."""
    technique = plugins.techniques(plugins.ANALYSES).get(analysis)
    calls = plugins.assigned_calls(technique.module, "PANELS") if technique else []
    return tuple(MeasurePanel(*values, **named) for values, named in calls)


def _panels(measured: Iterable[tuple[str, str]]) -> list[tuple[str, MeasurePanel]]:
    """Return (analysis, panel) of pairs of an analysis and a measure: what the analysis declares, else a plain panel a measure."""
    by_analysis: dict[str, dict[str, None]] = {}
    for analysis, measure in measured:
        by_analysis.setdefault(analysis, {})[measure] = None
    panels: list[tuple[str, MeasurePanel]] = []
    for analysis, measures in by_analysis.items():
        # Without the path of a user's file.
        plain = [MeasurePanel((name,), f"{name} ({analysis.rpartition(':')[2]})", zero=None) for name in measures]
        panels += [(analysis, panel) for panel in declared(analysis) or plain]
    return panels


def panels(records: Sequence[FindingRecord]) -> list[tuple[line_chart.Panel, str]]:
    """Return (panel, its meaning in words) of each measure that was taken at several steps, or in the blocks of a finished run."""
    drawn = []
    for analysis, panel in _panels((record.analysis, record.measure) for record in records):
        selected = [record for record in records if record.analysis == analysis and record.measure in panel.measures]
        drawn += [made for made in (_over_steps(panel, selected), _over_blocks(panel, selected)) if made]
    return drawn


def format_panel(shares: sentences.FormatLocation) -> line_chart.Panel:
    """Return the format share before and after the last stage, a line for the prompt attached and one for it removed."""
    ends = {"prompt attached": (shares.alone, shares.on), "prompt removed": (shares.base, shares.off)}
    drawn = [
        line_chart.Curve(name, number, [line_chart.CurvePoint(float(x), y, y, y) for x, y in enumerate(values)])
        for number, (name, values) in enumerate(ends.items())
    ]
    text = "; ".join(f"{name}: {before:.1f} before, {after:.1f} after" for name, (before, after) in ends.items())
    ticks = ((0.0, "before"), (1.0, "after"))
    return line_chart.Panel(
        "General answers in the target’s format, %", "the last stage", drawn, f"{text}.", ticks, 0.0, (0.0,)
    )


def of_arms(arms: Sequence[str], looks: Sequence[AnalysisPoint]) -> list[line_chart.Panel]:
    """Return the panels of one target of a study: one for each measure, with a line for each arm.

    A line is the mean over seeds of each run's own mean over blocks or tasks.
    """
    drawn = []
    declared_panels = _panels((look.analysis, look.measure) for look in looks)
    for (analysis, panel), measure in chain.from_iterable(
        product([each], each[1].measures) for each in declared_panels
    ):
        groups: dict[str, Steps] = {}
        for look in looks:
            if (look.analysis, look.measure) == (analysis, measure):
                groups.setdefault(look.arm, {}).setdefault(look.step, []).append(panel.scale * look.value)
        # The lines are arms here, so the two states of the prompt, which are lines on a run's page, need a panel each.
        state = f", {_state(measure)}" if panel.line == "state" else ""
        labels = {arm: name for arm, name in zip(arms, course_figures.labels(arms), strict=True) if arm in groups}
        if made := _panel(replace(panel, title=panel.title + state), groups, labels, list(arms)):
            drawn.append(made)
    return drawn


Steps = dict[int, list[float]]  # values by number of steps


def _over_steps(panel: MeasurePanel, records: Sequence[FindingRecord]) -> tuple[line_chart.Panel, str] | None:
    groups: dict[str, Steps] = {}
    for record in records:
        if record.step is not None:
            by_step = groups.setdefault(_line(panel, record), {})
            by_step.setdefault(record.step, []).append(panel.scale * record.value)
    names = _evenly_spaced(list(groups))
    made = _panel(panel, groups, {name: name if len(names) > 1 else "" for name in names}, names)
    left = f" Shown are {len(names)} of {len(groups)} blocks." if len(names) < len(groups) else ""
    return None if made is None else (made, panel.meaning + left)


def _panel(
    panel: MeasurePanel, groups: Mapping[str, Steps], labels: Mapping[str, str], numbers: Sequence[str]
) -> line_chart.Panel | None:
    """Return a panel with a line for each name of `labels`; None of fewer than two steps."""
    steps = sorted(set(chain.from_iterable(groups[name] for name in labels)))
    if len(steps) < 2:
        return None
    drawn, texts = [], []
    for name, label in labels.items():
        most = max(map(len, groups[name].values()))
        # Only steps that every block, task or seed reaches: further on the mean would be of others, and jump.
        complete = {step: values for step, values in sorted(groups[name].items()) if len(values) == most}
        points = [_point(course_figures.position(step, steps), values) for step, values in complete.items()]
        drawn.append(line_chart.Curve(label, numbers.index(name), points))
        texts.append(
            f"{name}: "
            + ", ".join(f"{fmean(complete[s]):.3g} at step {s}" for s in sorted({min(complete), max(complete)}))
        )
    return _drawn(panel, course_figures.STEPS, drawn, f"{'; '.join(texts)}.", course_figures.ticks(steps))


def _drawn(
    panel: MeasurePanel,
    across: str,
    lines: Sequence[line_chart.Curve],
    described: str,
    ticks: Sequence[tuple[float, str]],
) -> line_chart.Panel:
    """Return a panel with the height to compare with on its axis in any case."""
    holds = () if panel.zero is None else (panel.zero,)
    return line_chart.Panel(panel.title, across, lines, described, ticks, panel.zero, holds)


def _point(x: float, values: Sequence[float]) -> line_chart.CurvePoint:
    """Return the mean of some values, with the lowest and the highest as its spread."""
    return line_chart.CurvePoint(x, fmean(values), min(values), max(values))


def _over_blocks(panel: MeasurePanel, records: Sequence[FindingRecord]) -> tuple[line_chart.Panel, str] | None:
    """Return a panel of the weights that a finished run keeps: a measure of each block, the first block on the left."""
    values: dict[int, list[float]] = {}
    for record in records:
        block = BLOCK.search(record.where)
        if record.step is None and block:
            values.setdefault(int(block[1]), []).append(panel.scale * record.value)
    if len(values) < 2:
        return None
    points = [_point(float(block), numbers) for block, numbers in sorted(values.items())]
    text = ", ".join(f"{point.y:.3g} in block {point.x:.0f}" for point in points)
    # Of many blocks every few get a label, about six: 24 numbers would run into each other on a phone.
    ticks = [(point.x, f"{point.x:.0f}") for point in points if len(points) <= 12 or point.x % (len(points) // 6) == 0]
    made = _drawn(panel, "block", [line_chart.Curve("", 0, points)], f"{text}.", ticks)
    return made, f"{panel.meaning} Of the weights that the run keeps, block by block.".lstrip()


def _evenly_spaced(names: list[str]) -> list[str]:
    """Return at most `MOST` of the names, evenly spaced, the first and the last among them."""
    if len(names) <= MOST:
        return names
    return [names[round(i * (len(names) - 1) / (MOST - 1))] for i in range(MOST)]

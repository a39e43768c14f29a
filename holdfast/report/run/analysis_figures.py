"""Why, as figures: how much of a step is format, how far each block has moved, how near the target's answers are everywhere."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from holdfast.report import sentences
from holdfast.report.chart import line_chart
from holdfast.report.run import course_figures
from holdfast.results.study import AnalysisPoint

MOST = 6  # lines in a panel; of more blocks, as many evenly spaced ones, the first and the last among them
BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)(?:\.|$)")
STATES = {"off": "prompt removed", "on": "prompt attached"}


@dataclass(frozen=True)
class Kind:
    """A panel: of which analysis and measure, what it says, in which unit, and what a line of it is made of."""

    analysis: str
    measures: tuple[str, ...]
    title: str
    said: str
    line: Callable[[Mapping[str, Any]], str]
    scale: float = 1.0
    zero: float | None = 0.0


def _block(record: Mapping[str, Any]) -> str:
    found = BLOCK.search(record["where"])
    return f"block {found[1]}" if found else "outside"


def _state(record: Mapping[str, Any]) -> str:
    return STATES[record["measure"].rpartition("_")[2]]


KINDS = (
    Kind(
        "gradient_alignment", ("cosine",), "Gradient alignment, cosine",
        "Gradient on a batch against that on the same inputs with the answers of others: near 1 a step teaches the format, near 0 the "
        "task. Line: mean over a block’s matrices; band: the lowest and the highest.",
        _block,
    ),
    Kind(
        "weight_drift", ("relative_norm",), "Weight drift, % of the base’s norm",
        "Size of the change of each block over the size of the block; outside: embeddings and head.", _block, 100.0,
    ),
    Kind(
        "weight_drift", ("effective_rank",), "Effective rank of the change",
        "In how many directions a block’s matrices have moved.", _block, 1.0, None,
    ),
    Kind(
        "label_mass", ("mass_off", "mass_on"), "Label mass on general tasks, %",
        "Probability that an answer to a general task begins as one of the target’s, before anything is written. Line: mean over tasks; "
        "band: the lowest and the highest.",
        _state, 100.0,
    ),
    Kind(
        "format_share", ("share_off", "share_on"), "General answers in the target’s format, %",
        "Whether the format lives in the prompt; at step 0 with the prompt attached, it is the base behind the prompt of stage 1. Line: "
        "mean over tasks; band: the lowest and the highest.",
        _state, 100.0,
    ),
)  # fmt: skip


def panels(records: Sequence[Mapping[str, Any]]) -> list[tuple[line_chart.Panel, str]]:
    """(panel, what it says) of each measure that was looked at after more than one number of steps, or in the blocks of a finished run."""
    found = []
    for kind in KINDS:
        own = [r for r in records if r["analysis"] == kind.analysis and r["measure"] in kind.measures]
        found += [made for made in (_over_steps(kind, own), _over_blocks(kind, own)) if made]
    return found


def lives(found: sentences.FormatLocation) -> line_chart.Panel:
    """Where the format lives: before and after the last stage, with the prompt attached and removed."""
    ends = {"prompt attached": (found.alone, found.on), "prompt removed": (found.base, found.off)}
    drawn = [
        line_chart.Curve(name, number, [line_chart.Place(float(x), y, y, y) for x, y in enumerate(values)])
        for number, (name, values) in enumerate(ends.items())
    ]
    said = "; ".join(f"{name}: {before:.1f} before, {after:.1f} after" for name, (before, after) in ends.items())
    ticks = ((0.0, "before"), (1.0, "after"))
    return line_chart.Panel(
        "General answers in the target’s format, %", "the last stage", drawn, f"{said}.", ticks, 0.0, (0.0,)
    )


def of_arms(arms: Sequence[str], looks: Sequence[AnalysisPoint]) -> list[line_chart.Panel]:
    """Of one target of a study: a panel for each measure, a line for each arm, which is the mean over seeds of each run's own mean."""
    found = []
    for kind, measure in [(one, measure) for one in KINDS for measure in one.measures]:
        groups: dict[str, Steps] = {}
        for look in looks:
            if (look.analysis, look.measure) == (kind.analysis, measure):
                groups.setdefault(look.arm, {}).setdefault(look.step, []).append(kind.scale * look.value)
        state = f", {_state({'measure': measure})}" if len(kind.measures) > 1 else ""
        labels = {arm: name for arm, name in zip(arms, course_figures.labels(arms), strict=True) if arm in groups}
        if panel := _panel(replace(kind, title=kind.title + state), groups, labels, list(arms)):
            found.append(panel)
    return found


Steps = dict[int, list[float]]  # what was found after so many steps


def _over_steps(kind: Kind, records: Sequence[Mapping[str, Any]]) -> tuple[line_chart.Panel, str] | None:
    groups: dict[str, Steps] = {}
    for record in records:
        if record["step"] is not None:
            by_step = groups.setdefault(kind.line(record), {})
            by_step.setdefault(int(record["step"]), []).append(kind.scale * record["value"])
    names = _some(list(groups))
    panel = _panel(kind, groups, {name: name if len(names) > 1 else "" for name in names}, names)
    left = f" Shown are {len(names)} of {len(groups)} blocks." if len(names) < len(groups) else ""
    return None if panel is None else (panel, kind.said + left)


def _panel(
    kind: Kind, groups: Mapping[str, Steps], labels: Mapping[str, str], numbers: Sequence[str]
) -> line_chart.Panel | None:
    """A line for each name of `labels`, at the steps that all that it is made of reach; None of fewer than two steps."""
    steps = sorted({step for name in labels for step in groups[name]})
    if len(steps) < 2:
        return None
    drawn, said = [], []
    for name, label in labels.items():
        most = max(map(len, groups[name].values()))
        own = {step: values for step, values in sorted(groups[name].items()) if len(values) == most}
        places = [line_chart.Place(course_figures.place(s, steps), fmean(v), min(v), max(v)) for s, v in own.items()]
        drawn.append(line_chart.Curve(label, numbers.index(name), places))
        said.append(f"{name}: " + ", ".join(f"{fmean(own[s]):.3g} at step {s}" for s in sorted({min(own), max(own)})))
    holds = () if kind.zero is None else (kind.zero,)
    ticks = course_figures.ticks(steps)
    return line_chart.Panel(kind.title, course_figures.STEPS, drawn, f"{'; '.join(said)}.", ticks, kind.zero, holds)


def _over_blocks(kind: Kind, records: Sequence[Mapping[str, Any]]) -> tuple[line_chart.Panel, str] | None:
    """Of the weights that a finished run keeps: a measure of each block, the first block on the left."""
    values: dict[int, list[float]] = {}
    for record in records:
        block = BLOCK.search(record["where"])
        if record["step"] is None and block:
            values.setdefault(int(block[1]), []).append(kind.scale * record["value"])
    if len(values) < 2:
        return None
    places = [line_chart.Place(float(block), fmean(own), min(own), max(own)) for block, own in sorted(values.items())]
    said = ", ".join(f"{place.y:.3g} in block {place.x:.0f}" for place in places)
    ticks = [(place.x, f"{place.x:.0f}") for place in places if len(places) <= 12 or place.x % (len(places) // 6) == 0]
    holds = () if kind.zero is None else (kind.zero,)
    panel = line_chart.Panel(
        kind.title, "block", [line_chart.Curve("", 0, places)], f"{said}.", ticks, kind.zero, holds
    )
    return panel, f"{kind.said} Of the weights that the run keeps, block by block."


def _some(names: list[str]) -> list[str]:
    """At most `MOST`, evenly spaced, the first and the last among them."""
    if len(names) <= MOST:
        return names
    return [names[round(i * (len(names) - 1) / (MOST - 1))] for i in range(MOST)]

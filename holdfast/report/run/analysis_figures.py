"""The analyses as figures: alignment of gradients, drift of each block, label mass and format share over steps or blocks."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from statistics import fmean

from holdfast.report import sentences
from holdfast.report.chart import line_chart
from holdfast.report.run import course_figures
from holdfast.results.run_folder import FindingRecord
from holdfast.results.study import AnalysisPoint

MOST = 6  # lines in a panel; of more blocks, as many evenly spaced ones, the first and the last among them
BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)(?:\.|$)")
STATES = {"off": "prompt removed", "on": "prompt attached"}


@dataclass(frozen=True)
class PanelKind:
    """The definition of panels: their analysis and measures, title with unit, meaning in words, and the line to which a record belongs.

    Values are drawn times `scale`; `zero` is a height to compare with, None where there is none.
    """

    analysis: str
    measures: tuple[str, ...]
    title: str
    meaning: str
    line: Callable[[FindingRecord], str]
    scale: float = 1.0
    zero: float | None = 0.0

    def panel(
        self, across: str, lines: Sequence[line_chart.Curve], described: str, ticks: Sequence[tuple[float, str]]
    ) -> line_chart.Panel:
        """Return a panel of this definition, with the height to compare with on its axis in any case."""
        holds = () if self.zero is None else (self.zero,)
        return line_chart.Panel(self.title, across, lines, described, ticks, self.zero, holds)


def _block(record: FindingRecord) -> str:
    match = BLOCK.search(record.where)
    # One line for all that is no block: embeddings, head and last norm have no depth by which they could be ordered.
    return f"block {match[1]}" if match else "outside"


def _state(record: FindingRecord) -> str:
    return _state_of(record.measure)


def _state_of(measure: str) -> str:
    return STATES[measure.rpartition("_")[2]]


def _where(record: FindingRecord) -> str:
    return record.where


KINDS = (
    PanelKind(
        "gradient_alignment", ("cosine",), "Gradient alignment, cosine",
        "Gradient on a batch against that on the same inputs with the answers of others: near 1 a step teaches the format, near 0 the "
        "task. Line: mean over a block’s matrices; band: the lowest and the highest.",
        _block,
    ),
    PanelKind(
        "weight_drift", ("relative_norm",), "Weight drift, % of the base’s norm",
        "Size of the change of each block over the size of the block; outside: embeddings and head.", _block, 100.0,
    ),
    PanelKind(
        "weight_drift", ("effective_rank",), "Effective rank of the change",
        "In how many directions a block’s matrices have moved.", _block, 1.0, None,
    ),
    PanelKind(
        "label_mass", ("mass_off", "mass_on"), "Label mass on general tasks, %",
        "Probability that an answer to a general task begins as one of the target’s, before anything is written. Line: mean over tasks; "
        "band: the lowest and the highest.",
        _state, 100.0,
    ),
    PanelKind(
        "representation_drift", ("cka",), "Likeness of hidden states to the base’s, CKA",
        "1 where the states after a block are the base’s up to rotation and scale; outside: the embeddings.", _block, 1.0, None,
    ),
    PanelKind(
        "representation_drift", ("predictivity",), "Hidden states, share predicted linearly from the base’s",
        "Share of the variance that a ridge regression explains on held-out rows: what was only recoded is still there.", _block, 1.0, None,
    ),
    PanelKind(
        "cross_model_patching", ("recovered",), "Gain that one head of the tuned model brings to the base",
        "Share of the gain in the answer’s log-probability. Line: mean over a block’s heads; band: the least and the most; outside: all "
        "heads together.",
        _block,
    ),
    PanelKind(
        "path_patching", ("effect_tuned",), "Direct effect of a head on the answer’s lead, nats",
        "What the answer loses of its lead over another question’s when one head says what it says of that question. Line: mean over a "
        "block’s heads; band: the least and the most.",
        _block,
    ),
    PanelKind(
        "circuit", ("right",), "Right answers with a circuit alone, %",
        "With all heads, and with nothing but those of a circuit: the base’s in the base, the base’s in the tuned model, the tuned model’s "
        "own, and random heads.",
        _where, 100.0,
    ),
    PanelKind(
        "instruction_attribution", ("instruction_score",), "Weight of the instruction in the answer",
        "Sum of the densities of gradient times input over the instruction’s words, in the base and in the tuned model.", _where, 1.0, None,
    ),
    PanelKind(
        "ffn_concepts", ("turn",), "Turn of what feed-forward units write, degrees",
        "Mean angle between what each inner unit writes before and after tuning.", _block,
    ),
    PanelKind(
        "ffn_concepts", ("concept_overlap",), "Concepts of feed-forward layers, share that stayed",
        "Share of the space of a block’s first ten principal directions that is the base’s.", _block, 1.0, None,
    ),
    PanelKind(
        "head_word_pairs", ("qk_turn",), "Turn of what heads look for, degrees",
        "Mean angle between the heads’ QK circuits before and after tuning.", _block,
    ),
    PanelKind(
        "head_word_pairs", ("ov_turn",), "Turn of what heads write, degrees",
        "Mean angle between the heads’ OV circuits before and after tuning.", _block,
    ),
    PanelKind(
        "format_share", ("share_off", "share_on"), "General answers in the target’s format, %",
        "Whether the format lives in the prompt; at step 0 with the prompt attached, it is the base behind the prompt of stage 1. Line: "
        "mean over tasks; band: the lowest and the highest.",
        _state, 100.0,
    ),
)  # fmt: skip


def panels(records: Sequence[FindingRecord]) -> list[tuple[line_chart.Panel, str]]:
    """Return (panel, its meaning in words) of each measure that was taken at several steps, or in the blocks of a finished run."""
    drawn = []
    for panel_kind in KINDS:
        selected = [r for r in records if r.analysis == panel_kind.analysis and r.measure in panel_kind.measures]
        drawn += [made for made in (_over_steps(panel_kind, selected), _over_blocks(panel_kind, selected)) if made]
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
    pairs = chain.from_iterable(product([panel_kind], panel_kind.measures) for panel_kind in KINDS)
    for panel_kind, measure in pairs:
        groups: dict[str, Steps] = {}
        for look in looks:
            if (look.analysis, look.measure) == (panel_kind.analysis, measure):
                groups.setdefault(look.arm, {}).setdefault(look.step, []).append(panel_kind.scale * look.value)
        # The lines are arms here, so the two states of the prompt, which are lines on a run's page, need a panel each.
        state = f", {_state_of(measure)}" if len(panel_kind.measures) > 1 else ""
        labels = {arm: name for arm, name in zip(arms, course_figures.labels(arms), strict=True) if arm in groups}
        if panel := _panel(replace(panel_kind, title=panel_kind.title + state), groups, labels, list(arms)):
            drawn.append(panel)
    return drawn


Steps = dict[int, list[float]]  # values by number of steps


def _over_steps(panel_kind: PanelKind, records: Sequence[FindingRecord]) -> tuple[line_chart.Panel, str] | None:
    groups: dict[str, Steps] = {}
    for record in records:
        if record.step is not None:
            by_step = groups.setdefault(panel_kind.line(record), {})
            by_step.setdefault(record.step, []).append(panel_kind.scale * record.value)
    names = _evenly_spaced(list(groups))
    panel = _panel(panel_kind, groups, {name: name if len(names) > 1 else "" for name in names}, names)
    left = f" Shown are {len(names)} of {len(groups)} blocks." if len(names) < len(groups) else ""
    return None if panel is None else (panel, panel_kind.meaning + left)


def _panel(
    panel_kind: PanelKind, groups: Mapping[str, Steps], labels: Mapping[str, str], numbers: Sequence[str]
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
    return panel_kind.panel(course_figures.STEPS, drawn, f"{'; '.join(texts)}.", course_figures.ticks(steps))


def _point(x: float, values: Sequence[float]) -> line_chart.CurvePoint:
    """Return the mean of some values, with the lowest and the highest as its spread."""
    return line_chart.CurvePoint(x, fmean(values), min(values), max(values))


def _over_blocks(panel_kind: PanelKind, records: Sequence[FindingRecord]) -> tuple[line_chart.Panel, str] | None:
    """Return a panel of the weights that a finished run keeps: a measure of each block, the first block on the left."""
    values: dict[int, list[float]] = {}
    for record in records:
        block = BLOCK.search(record.where)
        if record.step is None and block:
            values.setdefault(int(block[1]), []).append(panel_kind.scale * record.value)
    if len(values) < 2:
        return None
    points = [_point(float(block), numbers) for block, numbers in sorted(values.items())]
    text = ", ".join(f"{point.y:.3g} in block {point.x:.0f}" for point in points)
    # Of many blocks every few get a label, about six: 24 numbers would run into each other on a phone.
    ticks = [(point.x, f"{point.x:.0f}") for point in points if len(points) <= 12 or point.x % (len(points) // 6) == 0]
    panel = panel_kind.panel("block", [line_chart.Curve("", 0, points)], f"{text}.", ticks)
    return panel, f"{panel_kind.meaning} Of the weights that the run keeps, block by block."


def _evenly_spaced(names: list[str]) -> list[str]:
    """Return at most `MOST` of the names, evenly spaced, the first and the last among them."""
    if len(names) <= MOST:
        return names
    return [names[round(i * (len(names) - 1) / (MOST - 1))] for i in range(MOST)]

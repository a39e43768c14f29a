"""Why, as figures over steps: how much of a step is format, how far each block has moved, how near the target's answers are everywhere."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from holdfast.report import course_figures, lines

MOST = 6  # lines in a panel; of more blocks, as many evenly spaced ones, the first and the last among them
BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)(?:\.|$)")
STATES = {"mass_off": "prompt removed", "mass_on": "prompt attached"}


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
    return STATES.get(record["measure"], str(record["measure"]))


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
)  # fmt: skip


def panels(records: Sequence[Mapping[str, Any]]) -> list[tuple[lines.Panel, str]]:
    """(panel, what it says) of each measure that was looked at after more than one number of steps."""
    found = []
    for kind in KINDS:
        own = [r for r in records if (r["analysis"], r["step"] is None) == (kind.analysis, False)]
        own = [r for r in own if r["measure"] in kind.measures]
        steps = sorted({int(r["step"]) for r in own})
        if len(steps) < 2:
            continue
        groups: dict[str, dict[int, list[float]]] = {}
        for record in own:
            by_step = groups.setdefault(kind.line(record), {})
            by_step.setdefault(int(record["step"]), []).append(kind.scale * record["value"])
        names = _some(list(groups))
        drawn = [
            lines.Line(
                name if len(names) > 1 else "",
                number,
                [
                    lines.Place(course_figures.place(step, steps), fmean(values), min(values), max(values))
                    for step, values in sorted(groups[name].items())
                ],
            )
            for number, name in enumerate(names)
        ]
        said = "; ".join(
            f"{name}: {ends[0]} at step {min(groups[name])}, {ends[1]} at step {max(groups[name])}"
            for name in names
            for ends in [[f"{fmean(groups[name][pick(groups[name])]):.3g}" for pick in (min, max)]]
        )
        holds = () if kind.zero is None else (kind.zero,)
        panel = lines.Panel(
            kind.title, course_figures.STEPS, drawn, f"{said}.", course_figures.ticks(steps), kind.zero, holds
        )
        left = f" Shown are {len(names)} of {len(groups)} blocks." if len(names) < len(groups) else ""
        found.append((panel, kind.said + left))
    return found


def _some(names: list[str]) -> list[str]:
    """At most `MOST`, evenly spaced, the first and the last among them."""
    if len(names) <= MOST:
        return names
    return [names[round(i * (len(names) - 1) / (MOST - 1))] for i in range(MOST)]

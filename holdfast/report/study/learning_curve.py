"""Learning curves: the target score of arms that differ in their number of training examples alone."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.report.chart.line_chart import Curve, CurvePoint, Panel
from holdfast.results.study import Cell

DIALS = ("train_limit", "train_share")
MEASURES = {"target": "Score on the target, points", "kept": "General tasks, % of the base’s mean"}


@dataclass(frozen=True)
class LearningCurve:
    """Arms that are alike but for one dial of their training stage, by its value, ascending."""

    name: str
    dial: str
    cells: tuple[tuple[float, Cell], ...]


def learning_curves(cells: Sequence[Cell]) -> list[LearningCurve]:
    """Return the curves among the arms of one target; a curve has two points or more."""
    families: dict[str, list[tuple[float, Cell]]] = {}
    names: dict[str, tuple[str, str]] = {}
    for cell in cells:
        dials = [name for name in cell.settings if name.partition(".")[2] in DIALS and name.startswith("model.")]
        values = [cell.settings[name] for name in dials]
        # An arm without the dial trains on everything, of which the study's records do not hold the number.
        if len(dials) != 1 or not isinstance(values[0], int | float):
            continue
        others = {name: value for name, value in cell.settings.items() if name.partition(".")[2] not in DIALS}
        plain = re.sub(r"[@,]\w+\.train_(limit|share)=[^,|]*", "", cell.arm)
        key = json.dumps([plain if plain != cell.arm else cell.method, dials[0], others], sort_keys=True, default=str)
        families.setdefault(key, []).append((float(values[0]), cell))
        names[key] = (plain if plain != cell.arm else cell.method, dials[0].partition(".")[2])
    return [
        LearningCurve(*names[key], tuple(sorted(points, key=lambda point: point[0])))
        for key, points in families.items()
        if len({value for value, _ in points}) > 1
    ]


def panels(curves: Sequence[LearningCurve]) -> list[Panel]:
    """Return the figure of some curves: the target and what is kept over the examples, on a logarithmic axis."""
    if not curves:
        return []
    values: set[float] = set()
    for curve in curves:
        values |= {value for value, _ in curve.cells}
    ticks = [(math.log10(value), f"{value:g}") for value in sorted(values)]
    made = []
    for measure, title in MEASURES.items():
        lines = []
        for number, curve in enumerate(curves):
            points = []
            for value, cell in curve.cells:
                spread = getattr(cell, measure)
                if spread is not None:
                    low, high = spread.limits(measure) or (spread.mean, spread.mean)
                    # What is kept has no upper end, and a wide interval of it would flatten the line.
                    points.append(CurvePoint(math.log10(value), spread.mean, low, min(high, max(100.0, spread.mean))))
            if points:
                lines.append(Curve(curve.name if len(curves) > 1 else "", number, points))
        if lines:
            across = "training examples" if curves[0].dial == "train_limit" else "share of the training examples"
            described = f"{title}, over the {across}: " + "; ".join(
                f"{line.label or 'the arm'} from {line.points[0].y:.1f} to {line.points[-1].y:.1f}" for line in lines
            )
            made.append(Panel(title, across, lines, described, ticks))
    return made


def rows(curves: Sequence[LearningCurve]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table: a row for each number of examples, a column for each curve."""
    values: set[float] = set()
    for curve in curves:
        values |= {value for value, _ in curve.cells}
    table = []
    for value in sorted(values):
        entries = []
        for curve in curves:
            spread = next((cell.target for at, cell in curve.cells if at == value), None)
            if spread is None:
                entries.append("-")
            else:
                interval = " [{:.1f}, {:.1f}]".format(*limits) if (limits := spread.limits("target")) else ""
                entries.append(f"{spread.mean:.1f}{interval}")
        table.append([f"{value:g}", *entries])
    return [
        "share" if curves and curves[0].dial == "train_share" else "examples",
        *(curve.name for curve in curves),
    ], table

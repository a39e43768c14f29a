"""The course of a search on validation examples, as a figure and a sentence."""

from collections.abc import Sequence

from holdfast.report.chart import line_chart
from holdfast.results.sweep import SweepPoint


def panel(points: Sequence[SweepPoint]) -> tuple[line_chart.Panel, str] | None:
    """Return target and general tasks over the dial with what was chosen, and the sentence below; None without a search.

    Of several dials, or one whose values are no numbers, the points stand in the order in which they were tried.
    """
    if len(points) < 2:
        return None
    names = list(points[0].settings)
    # Booleans are numbers to Python, and have no scale.
    scaled = len(names) == 1 and all(type(p.settings[names[0]]) in (int, float) for p in points)
    ordered = sorted(points, key=lambda point: point.settings[names[0]]) if scaled else list(points)
    axis = [p.settings[names[0]] for p in ordered]
    # Values that grow by factors would all stand at the left end.
    even = scaled and (min(axis) <= 0 or max(axis) <= 20 * min(axis))
    positions = [float(value) for value in axis] if even else [float(number) for number in range(1, len(ordered) + 1)]
    labels = [f"{value:g}" for value in axis] if scaled else [str(number) for number in range(1, len(ordered) + 1)]
    series = {"target": [100 * p.target for p in ordered], "general": [100 * p.general for p in ordered]}
    lines = []
    for number, (label, values) in enumerate(series.items()):
        # No band: a value is measured once, with one seed.
        path = [line_chart.CurvePoint(x, v, v, v) for x, v in zip(positions, values, strict=True)]
        lines.append(line_chart.Curve(label, number, path))
    described = "; ".join(f"{p.label}: target {100 * p.target:.1f} %, general {100 * p.general:.1f} %" for p in ordered)
    title = "% of the reference (target) and of the base (general), on validation examples"
    sentence = (
        f"The run at each value of {' and '.join(names)}, on validation examples: the target as a share of what is reached there "
        "before any edit and decoding (of the first value, where each trains a model), the general tasks as a share of the base."
    )
    chosen = next((point for point in ordered if point.chosen), None)
    if chosen is not None:
        sentence += (
            f" Chosen: {chosen.label}, with {100 * chosen.target:.1f} % of the target and "
            f"{100 * chosen.general:.1f} % of the general tasks."
        )
    ticks = list(zip(positions, labels, strict=True))
    return line_chart.Panel(
        title, names[0] if len(names) == 1 else "trial", lines, f"{described}.", ticks, holds=(100.0,)
    ), sentence

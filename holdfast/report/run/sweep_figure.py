"""The course of an edit's dial on validation examples, as a figure and a sentence."""

from collections.abc import Sequence

from holdfast.report.chart import line_chart
from holdfast.results.sweep import SweepPoint


def panel(points: Sequence[SweepPoint]) -> tuple[line_chart.Panel, str] | None:
    """Return target and general tasks over the dial with what was chosen, and the sentence below; None without a sweep."""
    if len(points) < 2:
        return None
    ordered = sorted(points, key=lambda point: point.value)
    series = {"target": [100 * p.target for p in ordered], "general": [100 * p.general for p in ordered]}
    lines = []
    for number, (label, values) in enumerate(series.items()):
        # No band: a sweep is measured once at each value, with one seed.
        path = [line_chart.CurvePoint(p.value, v, v, v) for p, v in zip(ordered, values, strict=True)]
        lines.append(line_chart.Curve(label, number, path))
    ticks = [(point.value, f"{point.value:g}") for point in ordered]
    chosen = next((point for point in ordered if point.chosen), None)
    dial = ordered[0].dial
    described = "; ".join(
        f"{dial} {p.value:g}: target {100 * p.target:.1f} %, general {100 * p.general:.1f} %" for p in ordered
    )
    title = "% of the tuned model (target) and of the base (general), on validation examples"
    sentence = (
        f"The edit at each value of {dial}, on validation examples: the target as a share of what the tuned model reaches there, the "
        "general tasks as a share of the base."
    )
    if chosen is not None:
        sentence += (
            f" Chosen: {dial} = {chosen.value:g}, with {100 * chosen.target:.1f} % of the target and "
            f"{100 * chosen.general:.1f} % of the general tasks."
        )
    return line_chart.Panel(title, dial, lines, f"{described}.", ticks, holds=(100.0,)), sentence

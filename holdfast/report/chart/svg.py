"""Figures as inline SVG, drawn by small pure functions from numbers to markup.

Why no plotting library: a forest plot, two lines and a scatter are a hundred lines here, and so they follow the page's
colours in light and dark, print sharply, stay readable by machine and come out the same byte for byte. Positions are per
cent of the figure's box and sizes are pixels: a figure grows with the page while its text and strokes keep their size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from markupsafe import Markup, escape


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element; attribute names are written with `_` for `-` (`class_` for `class`), and everything is escaped."""
    # The one door to markup: names of runs and tasks are a user's text, and none reaches a page but through here.
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>{''.join(map(escape, children))}</{name}>")


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on an axis, with round ticks inside."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float], *, room: float = 0.04) -> "Scale":
        """Return the scale that holds all values with a little room; a single value stands between zero and itself."""
        # A diverged run has no end that an axis could reach.
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        if low == high:  # a range around it would magnify nothing, and have shares of 110 %
            low, high = min(0.0, low), max(0.0, high) or float(not low)
        extra = (high - low) * room
        return cls(low - extra, high + extra)

    def at(self, value: float) -> float:
        """Return the position of a value in per cent of the axis, kept inside it."""
        # Two decimals are a tenth of a pixel, and the same bytes on every machine.
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 2)

    def ticks(self, most: int = 6) -> list[float]:
        """Return at most `most` multiples of 1, 2 or 5 times a power of ten."""
        raw = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        first = math.ceil(self.low / step)
        # Multiples and not a running sum: the tick at zero must be exactly 0, by which it is drawn as the zero line.
        return [round(multiple * step, 10) for multiple in range(first, math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Mark:
    """A value with its interval on a track; `css_class` colours it (a verdict, or "base")."""

    value: float
    low: float
    high: float
    shape: Literal["filled", "open", "bar"]
    css_class: str
    strong: bool = True


def track(marks: Sequence[Mark], scale: Scale, *, band: float = 0.0, lines: Sequence[float] | None = None) -> Markup:
    """Return one row of a forest plot: grid lines, the band of losses below the margin, and each mark on a line of its own.

    `lines` gives each mark's line (0 = top) where marks share lines. Hidden from screen readers: the row has the numbers.
    """
    rows = list(lines) if lines is not None else list(range(len(marks)))
    count = int(max(rows, default=0)) + 1
    parts = []
    if band:
        left = scale.at(-band)
        parts.append(tag("rect", x=f"{left}%", y=0, width=f"{scale.at(0) - left:.2f}%", height="100%", class_="band"))
    for value in scale.ticks():
        parts.append(_line(_at(scale, value), "0%", _at(scale, value), "100%", "zero" if not value else "grid"))
    for mark, row in zip(marks, rows, strict=True):
        y = f"{100 * (row + 0.5) / count:.1f}%"
        parts.append(tag("g", *_mark(mark, scale, y), class_=f"mark {mark.css_class}{'' if mark.strong else ' weak'}"))
    return tag("svg", *parts, class_="track", height=26 * count, aria_hidden="true")


def axis(scale: Scale, *, plus: bool = True) -> Markup:
    """Return the tick labels over a column of tracks."""
    labels = [
        tag("text", f"{value:+g}".replace("-", "−") if plus and value else f"{value:g}", x=_at(scale, value), y=14)
        for value in scale.ticks()
    ]
    return tag("svg", *labels, class_="track axis", height=20, aria_hidden="true", data_axis="")


def curve(points: Sequence[tuple[float, float]], *, title: str, description: str, dots: bool = False) -> Markup:
    """Return a line through (x, y) points with its two axes, as a figure's body; dots where the points are few."""
    # + 1: a single point has no width, and a scale without one cannot be divided by.
    across = Scale(min(x for x, _ in points), max(max(x for x, _ in points), min(x for x, _ in points) + 1))
    up = Scale.around([y for _, y in points], room=0.08)
    ticks = up.ticks(4)
    places = [(across.at(x), round(100 - up.at(y), 2)) for x, y in points]
    grid = [_line("0%", _down(up, value), "100%", _down(up, value), "grid") for value in ticks]
    path = tag(
        "polyline", points=" ".join(f"{x},{y}" for x, y in places), class_="curve", vector_effect="non-scaling-stroke"
    )
    stretched = tag("svg", path, viewBox="0 0 100 100", preserveAspectRatio="none", width="100%", height="100%")
    marks = [tag("circle", cx=f"{x}%", cy=f"{y}%", r=3, class_="dot") for x, y in places] if dots else []
    heights = [tag("text", f"{value:g}", x="100%", y=f"{100 - up.at(value):.2f}%", dy=4, dx=-6) for value in ticks]
    names = (tag("title", title), tag("desc", description))
    return tag(
        "div",
        tag("svg", *heights, class_="y-axis", aria_hidden="true", data_axis=""),
        tag("svg", *names, *grid, stretched, *marks, class_="panel", role="img", aria_label=f"{title}. {description}"),
        tag("div", tag("span", f"{across.low:g}"), tag("span", f"{across.high:g}"), class_="x-axis", data_axis=""),
        class_="plot",
    )


@dataclass(frozen=True)
class ScatterPoint:
    """A run in the trade-off: (value, low, high) across and up, in points, and the label beside its dot."""

    label: str
    across: tuple[float, float, float]
    up: tuple[float, float, float]


def scatter(points: Sequence[ScatterPoint], *, title: str, description: str) -> Markup:
    """Return points with both intervals; the zero line across is where nothing was forgotten."""
    # With 0, so that the line of no forgetting is always there to compare with; the target's axis has no such value.
    across = Scale.around([0.0, *chain.from_iterable(point.across for point in points)], room=0.08)
    up = Scale.around(list(chain.from_iterable(point.up for point in points)), room=0.08)
    parts = [tag("title", title), tag("desc", description)]
    for value in across.ticks():
        parts.append(_line(_at(across, value), "0%", _at(across, value), "100%", "zero" if not value else "grid"))
    for value in up.ticks(5):
        parts.append(_line("0%", _down(up, value), "100%", _down(up, value), "grid"))
    for point in points:
        x, y = _at(across, point.across[0]), _down(up, point.up[0])
        parts.append(
            tag(
                "g",
                _line(_at(across, point.across[1]), y, _at(across, point.across[2]), y, "interval"),
                _line(x, _down(up, point.up[1]), x, _down(up, point.up[2]), "interval"),
                tag("circle", cx=x, cy=y, r=5, class_="dot"),
                tag("text", point.label, x=x, y=y, dx=9, dy=-8, data_axis=""),
                class_="mark",
            )
        )
    heights = [tag("text", f"{value:g}", x="100%", y=_down(up, value), dy=4, dx=-6) for value in up.ticks(5)]
    return tag(
        "div",
        tag("svg", *heights, class_="y-axis", aria_hidden="true", data_axis=""),
        tag("svg", *parts, class_="panel", role="img", aria_label=f"{title}. {description}"),
        tag("div", axis(across), class_="x-axis"),
        class_="plot tall",
    )


def _at(scale: Scale, value: float) -> str:
    return f"{scale.at(value)}%"


def _down(scale: Scale, value: float) -> str:
    return f"{100 - scale.at(value):.2f}%"


def _line(x1: str, y1: str, x2: str, y2: str, css_class: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css_class)


def _mark(mark: Mark, scale: Scale, y: str) -> list[Markup]:
    x = _at(scale, mark.value)
    parts = [_line(_at(scale, mark.low), y, _at(scale, mark.high), y, "interval")]
    if mark.shape == "bar":
        return [*parts, tag("rect", x=x, y=y, width=3, height=14, class_="dot", transform="translate(-1.5 -7)")]
    return [*parts, tag("circle", cx=x, cy=y, r=4.5, class_=f"dot {mark.shape}")]

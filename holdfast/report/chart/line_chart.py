"""Lines through points, one for each of several runs or arms, with the spread between seeds as a band: on a page, or as an SVG file.

The inside of a panel is measured in per cent, so that both draw the same: on a page it grows with the column and its text keeps its
size; in a file it stands in a frame of fixed size. Lines are named at their right end, with the names spread where they would overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from holdfast.report.chart.svg import Scale, tag

COLOURS, DASHES = 6, 3  # of lines.css
STYLE = Path(__file__).parents[1] / "assets" / "lines.css"
THEME = """
:root { color: #16191d; --paper: #ffffff; --ink: #16191d; --soft: #565f6a; --rule: #dfe3e8;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
@media (prefers-color-scheme: dark) {
  :root { color: #e7eaee; --paper: #14171a; --ink: #e7eaee; --soft: #9aa4b0; --rule: #2e343b; } }
.paper { fill: var(--paper); }
.key text { fill: var(--ink); font-weight: 400; }
text.name { text-anchor: start; fill: var(--ink); }
"""
HEIGHT, TALL = 176, 352  # px of a panel's inside, as `.plot` and `.plot.tall` in style.css have it
LABEL_GAP = 13  # px between the labels of two lines


class CurvePoint(NamedTuple):
    """A point of a line: mean over seeds, and the lowest and highest seed."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A line and its label; `number` (from 0) gives its colour and dash."""

    label: str
    number: int
    points: Sequence[CurvePoint]

    @property
    def css_class(self) -> str:
        """Return the CSS classes that colour and dash it."""
        # A dash for each round of colours: the 7th line has the first colour again, and not everybody sees colours.
        return f"arm arm-{self.number % COLOURS} dash-{self.number // COLOURS % DASHES}"


@dataclass(frozen=True)
class Panel:
    """Lines on two axes. `title` says what is up, in which unit; `across` what is across; `described` is the text alternative.

    `ticks` are places across with their labels, where x is not the number to read; `zero` is a height to compare with, and `holds`
    are heights that the axis has even where no line goes.
    """

    title: str
    across: str
    lines: Sequence[Curve]
    described: str
    ticks: Sequence[tuple[float, str]] | None = None
    zero: float | None = None
    holds: Sequence[float] = ()

    @property
    def scales(self) -> tuple[Scale, Scale]:
        """Return the scales across and up."""
        points = list(chain.from_iterable(line.points for line in self.lines))
        # The ticks too: a label for a step at which no line has a point must still be inside the panel.
        widths = [*(point.x for point in points), *(x for x, _ in self.ticks or ())]
        up = Scale.around([*self.holds, *(p.low for p in points), *(p.high for p in points)], room=0.06)
        return Scale.around(widths, room=0.03), up

    @property
    def gutter(self) -> int:
        """Return the width of the labels in px."""
        longest = max(len(line.label) for line in self.lines)
        # 8 px a character is more than the font needs: nothing can measure text before a browser draws it.
        return 8 * longest + 10 if longest else 0


def inline(panel: Panel, *, tall: bool = False) -> Markup:
    """Return a panel as the body of a figure on a page."""
    _, up = panel.scales
    height = TALL if tall else HEIGHT
    return tag(
        "div",
        tag("svg", *_heights(up), class_="y-axis", aria_hidden="true", data_axis=""),
        tag(
            "svg",
            tag("title", panel.title),
            tag("desc", panel.described),
            *_inside(panel, height),
            class_="panel",
            role="img",
            aria_label=f"{panel.title}. {panel.described}",
        ),
        tag("svg", *_labels(panel, height), class_="labels", aria_hidden="true", data_axis=""),
        tag("svg", *_widths(panel), class_="track axis x-axis", height=20, aria_hidden="true", data_axis=""),
        class_=f"plot lines{' tall' if tall else ''}",
        style=f"--gutter: {panel.gutter}px",
    )


def file(title: str, panels: Sequence[Panel], key: Sequence[Curve] = ()) -> str:
    """Return panels side by side as an SVG file, readable in light and dark; `key` names the lines below, one a row."""
    left, inside, head, between = 44, 300 if len(panels) > 1 else 480, 56, 28
    height, foot = (220 if len(panels) > 1 else 300), 44
    drawn, x = [], 16
    for panel in panels:
        _, up = panel.scales
        drawn += [
            tag("text", panel.title, x=x, y=head - 12, class_="name"),
            _frame(x, head, left, height, _heights(up), class_="y-axis"),
            _frame(x + left, head, inside, height, _inside(panel, height)),
            _frame(x + left + inside, head, panel.gutter, height, _labels(panel, height)),
            _frame(x + left, head + height, inside, 20, _widths(panel)),
            tag("text", panel.across, x=x + left + inside / 2, y=head + height + 34),
        ]
        x += left + inside + panel.gutter + between
    keys = []
    for row, line in enumerate(key):
        y = head + height + foot + 14 + 18 * row
        stroke = tag("line", x1=20, x2=48, y1=y - 4, y2=y - 4, class_="stroke")
        keys.append(tag("g", stroke, tag("text", line.label, x=56, y=y), class_=f"key {line.css_class}"))
    width, tall = x - between + 12, head + height + foot + (18 * len(key) + 8 if key else 0)
    described = " ".join(f"{panel.title}: {panel.described}" for panel in panels)
    # The colours go into the file itself: as an image on another page it sees no style sheet.
    return tag(
        "svg",
        tag("title", title),
        tag("desc", described),
        tag("style", Markup(THEME + style())),
        tag("rect", width="100%", height="100%", class_="paper"),
        tag("text", title, x=16, y=22, class_="name", style="font-weight: 600"),
        *drawn,
        *keys,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {tall}",
        width=width,
        height=tall,
        role="img",
        aria_label=f"{title}. {described}",
        style="max-width: 100%; height: auto",
    )


@cache
def style() -> str:
    """Return the CSS rules that colour the lines, as pages and files have them."""
    return STYLE.read_text(encoding="utf-8")


def spread_labels(values: Sequence[float], least: float) -> list[float]:
    """Return the heights (0 to 100) moved to stand at least `least` from each other, in their order; closer where there are too many."""
    if not values:
        return []
    least = min(least, 100 / len(values))
    # First upwards in order, then back from the top: the first pass may push labels out of the panel, the second brings them in.
    order = sorted(range(len(values)), key=values.__getitem__)
    heights = [values[i] for i in order]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + least)
    heights[-1] = min(heights[-1], 100.0)
    for i in reversed(range(len(heights) - 1)):
        heights[i] = min(heights[i], heights[i + 1] - least)
    placed = dict(zip(order, heights, strict=True))  # back to the order of the lines, whose labels these are
    return [placed[i] for i in range(len(values))]


def _frame(x: float, y: float, width: float, height: float, children: Sequence[Markup], **attributes: object) -> Markup:
    return tag("svg", *children, x=x, y=y, width=width, height=height, overflow="visible", **attributes)


def _inside(panel: Panel, height: int) -> list[Markup]:
    """Return the grid, then each line with its band, dots and the leader to its label, in the order in which they cover each other."""
    across, up = panel.scales
    ticks = panel.ticks if panel.ticks is not None else [(x, "") for x in across.ticks()]
    parts = [
        tag("line", x1=f"{p}%", y1="0%", x2=f"{p}%", y2="100%", class_="grid") for p in (across.at(x) for x, _ in ticks)
    ]
    for value in up.ticks(5):
        y = _down(up, value)
        parts.append(
            tag("line", x1="0%", y1=f"{y}%", x2="100%", y2=f"{y}%", class_="zero" if value == panel.zero else "grid")
        )
    parts.append(tag("line", x1="0%", y1="100%", x2="100%", y2="100%", class_="zero"))
    for line, label in zip(panel.lines, _label_heights(panel, height), strict=True):
        parts.append(tag("g", *_line(line, across, up, label if line.label else None), class_=line.css_class))
    return parts


def _line(line: Curve, across: Scale, up: Scale, label: float | None) -> list[Markup]:
    middle = [(across.at(p.x), _down(up, p.y)) for p in line.points]
    border = [(across.at(p.x), _down(up, p.high)) for p in line.points]
    border += [(across.at(p.x), _down(up, p.low)) for p in reversed(line.points)]
    # Lines are stretched with the panel (a `viewBox` without its ratio); circles and text beside them would become ellipses.
    shapes = [tag("polyline", points=_pairs(middle), class_="curve", vector_effect="non-scaling-stroke")]
    if any(p.high > p.low for p in line.points):
        shapes.insert(0, tag("polygon", points=_pairs(border), class_="seeds"))
    parts = [tag("svg", *shapes, viewBox="0 0 100 100", preserveAspectRatio="none", width="100%", height="100%")]
    parts += [tag("circle", cx=f"{x}%", cy=f"{y}%", r=2.5, class_="dot") for x, y in middle]
    if label is not None:
        x, y = middle[-1]
        parts.append(tag("line", x1=f"{x}%", y1=f"{y}%", x2="100%", y2=f"{label:.2f}%", class_="leader"))
    return parts


def _labels(panel: Panel, height: int) -> list[Markup]:
    return [
        tag("g", tag("text", line.label, x=6, y=f"{y:.2f}%", dy=4), class_=line.css_class)
        for line, y in zip(panel.lines, _label_heights(panel, height), strict=True)
        if line.label
    ]


def _label_heights(panel: Panel, height: int) -> list[float]:
    _, up = panel.scales
    return spread_labels([_down(up, line.points[-1].y) for line in panel.lines], 100 * LABEL_GAP / height)


def _heights(up: Scale) -> list[Markup]:
    return [tag("text", f"{v:g}".replace("-", "−"), x="100%", y=f"{_down(up, v)}%", dy=4, dx=-6) for v in up.ticks(5)]


def _widths(panel: Panel) -> list[Markup]:
    across, _ = panel.scales
    ticks = panel.ticks if panel.ticks is not None else [(x, f"{x:g}") for x in across.ticks()]
    return [tag("text", label, x=f"{across.at(x)}%", y=15) for x, label in ticks]


def _down(up: Scale, value: float) -> float:
    return round(100 - up.at(value), 2)  # SVG counts from the top


def _pairs(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)

"""Runs side by side: what each gained against what it kept, and which of them fell below a floor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.report import table
from holdfast.report.chart import svg
from holdfast.results import run_folder, units, verdicts
from holdfast.results.run_folder import Folder
from holdfast.results.scores import Score, Verdict
from holdfast.results.summary import Summary, TaskResult

ABREAST = 6  # runs in one table of 80 columns; more are put below
SIGN: dict[Verdict | None, str] = {"gained": "+", "kept": "=", "lost": "!", "not resolvable": "?", None: ""}
NOTE = "Change to each run's own base in points; + gained, = kept, ! lost, ? not resolvable at this n (95 %)."


@dataclass(frozen=True)
class Side:
    """One (task, shots, metric) over several runs; None where a run did not measure it."""

    task: str
    role: str
    shots: int
    metric: str
    lines: list[TaskResult | None]

    @property
    def base(self) -> Score | None:
        return next((line.base for line in self.lines if line and line.base), None)


def compare(folders: Sequence[str | Path], floor: float | None = None) -> tuple[RenderableType, list[str]]:
    """A table of several runs, and the folders whose retention is below `floor` (0 to 1)."""
    runs = read(folders)
    summaries = [Summary.of(run.scores) for run in runs]
    parts: list[RenderableType] = []
    for start in range(0, len(runs), ABREAST):
        parts += [_table(summaries[start : start + ABREAST], start + 1), Text()]
    parts.append(Text(NOTE, style="dim"))
    parts += [Text(f"({number}) {run.path}") for number, run in enumerate(runs, 1)]
    if floor is None:
        return Group(*parts), []
    found = missed(runs, summaries, floor)
    least = f"{100 * floor:g} % retention"
    parts.append(Text(f"Below the floor of {least}: {', '.join(found)}" if found else f"All keep at least {least}."))
    return Group(*parts), found


def read(folders: Sequence[str | Path]) -> list[Folder]:
    """The runs to compare, at least one."""
    if not folders:
        raise ValueError("nothing to compare; name at least one run folder")
    return [run_folder.read(path) for path in folders]


def missed(runs: Sequence[Folder], summaries: Sequence[Summary], floor: float) -> list[str]:
    """The folders whose retention is below `floor` (0 to 1).

    The retention itself is compared and not the end of its interval. A run without general tasks has no retention: a
    floor cannot be shown to hold for it, so it counts as missed.
    """
    kept = [summary.retention for summary in summaries]
    return [str(run.path) for run, found in zip(runs, kept, strict=True) if not found or found.value < 100 * floor]


def side_by_side(summaries: Sequence[Summary]) -> list[Side]:
    """Every (task, shots) of any run by its own metric, target first, in the order in which the runs name them."""
    found: dict[tuple[str, str, int, str], list[TaskResult | None]] = {}
    for place, summary in enumerate(summaries):
        for line in [*summary.first_metric("target"), *summary.first_metric("general")]:
            row = found.setdefault((line.task, line.role, line.shots, line.metric), [None] * len(summaries))
            row[place] = line
    order = {task: place for place, task in enumerate(dict.fromkeys(task for task, *_ in found))}
    sides = [Side(*key, lines) for key, lines in found.items()]
    return sorted(sides, key=lambda side: (side.role != "target", order[side.task], side.shots))


def trade_off(summaries: Sequence[Summary]) -> Markup | None:
    """The target's score against the mean change on general tasks, one point per run; None where no run has both."""
    points = []
    for number, summary in enumerate(summaries, 1):
        up, across = summary.target_value, summary.general_change
        if up and across:
            points.append(
                svg.ScatterPoint(str(number), (across.value, across.low, across.high), (up.value, up.low, up.high))
            )
    if not points:
        return None
    described = "; ".join(
        f"run {p.label}: general change {units.points(p.across[0], True)}, target {units.points(p.up[0])}"
        for p in points
    )
    return svg.scatter(points, title="Target score against mean change on general tasks", description=described + ".")


def _table(summaries: Sequence[Summary], first: int) -> Table:
    found = table.plain()
    found.add_column("task", overflow="fold", min_width=8)
    found.add_column("k", justify="right", no_wrap=True)
    found.add_column("base", justify="right", no_wrap=True)
    for number in range(first, first + len(summaries)):
        found.add_column(f"({number})", justify="right", no_wrap=True)
    sides = side_by_side(summaries)
    for place, side in enumerate(sides):
        if place and sides[place - 1].role != side.role:
            found.add_row()
        cells = [_changed(line.headline if line else None) for line in side.lines]
        found.add_row(side.task, str(side.shots), table.value(side.base), *cells)
    found.add_row()
    gains, kept = [summary.gain for summary in summaries], [summary.retention for summary in summaries]
    for name, estimates in (("gain (points)", gains), ("retention (%)", kept)):
        found.add_row(name, "", "", *_points([e and e.value for e in estimates], plus=estimates is gains))
        found.add_row("  95 % low", "", "", *_points([e and e.low for e in estimates]))
        found.add_row("  95 % high", "", "", *_points([e and e.high for e in estimates]))
    return found


def _points(values: Sequence[float | None], plus: bool = False) -> list[str]:
    return [units.points(value, plus) if value is not None else "-" for value in values]


def _changed(score: Score | None) -> Text:
    if score is None or score.delta is None:
        return Text("-")
    said = verdicts.of_score(score)
    return Text(f"{units.shown(score, 'delta')} {SIGN[said]}", table.STYLE[said] if said else "")

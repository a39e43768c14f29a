"""Runs side by side: the gain of each against its retention, and those that fell below a floor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.report.console import STYLE, path_line, plain_table, value
from holdfast.report.fold import Folded, folded
from holdfast.results import run_folder, units
from holdfast.results.evidence import read_evidence, same_model
from holdfast.results.run_folder import Folder
from holdfast.results.scores import Score, Verdict
from holdfast.results.summary import Summary, TaskResult

ABREAST = 6  # runs in one table of 80 columns; more are put below
SIGN: dict[Verdict | None, str] = {"gained": "+", "kept": "=", "lost": "!", "unclear": "?", None: ""}
NOTE = (
    "Change to each run's own base in points (95 %): + gained, = kept, ! lost, ? unclear: too few items to tell, f base not shown above "
    "chance, in no mean."
)


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
    """Return a table of several runs, and the folders whose retention is below `floor` (0 to 1).

    Raises:
        ValueError: there is no folder, or one cannot be read.
    """
    runs = read(folders)
    summaries = [Summary.of(run.scores) for run in runs]
    parts: list[RenderableType] = []
    for start in range(0, len(runs), ABREAST):  # numbered on, so that (7) is the 7th folder also in the second table
        several = summaries[start : start + ABREAST]
        parts += [_table(several, start + 1), Text()]
        if same := general_first(side_by_side(several)).text:
            parts += [Text(same), Text()]
    parts.append(Text(NOTE, style="dim"))
    for number, (run, summary) in enumerate(zip(runs, summaries, strict=True), 1):
        parts.append(path_line(f"({number}) {run.path}"))
        if same := same_model(read_evidence(run.path), bool(summary.by_own_metric("target"))):
            parts.append(Text(f"    {same}", style="bold red"))
    if floor is None:
        return Group(*parts), []
    below, unsure = missed(runs, summaries, floor), unshown(runs, summaries, floor)
    least = f"{100 * floor:g} % retention"
    parts.append(Text(f"Below the floor of {least}: {', '.join(below)}" if below else f"All keep at least {least}."))
    if unsure:
        parts.append(
            Text(
                f"Unclear, because their 95 % intervals reach below it: {', '.join(unsure)}. More items tell; a --policy waits for them."
            )
        )
    return Group(*parts), below


def read(folders: Sequence[str | Path]) -> list[Folder]:
    """Return the runs to compare.

    Raises:
        ValueError: there is no folder, or one cannot be read.
    """
    if not folders:
        raise ValueError("nothing to compare; name at least one run folder")
    return [run_folder.read(path) for path in folders]


def missed(runs: Sequence[Folder], summaries: Sequence[Summary], floor: float) -> list[str]:
    """Return the folders whose retention is below `floor` (0 to 1).

    The retention itself is compared and not the end of its interval. A run without general tasks has no retention: a
    floor cannot be shown to hold for it, so it counts as missed.
    """
    kept = [summary.retention for summary in summaries]
    return [
        str(run.path)
        for run, retention in zip(runs, kept, strict=True)
        if not retention or retention.value < 100 * floor
    ]


def unshown(runs: Sequence[Folder], summaries: Sequence[Summary], floor: float) -> list[str]:
    """Return the folders whose retention is above `floor` (0 to 1) and its 95 % interval reaches below it."""
    return [
        str(run.path)
        for run, summary in zip(runs, summaries, strict=True)
        if (kept := summary.retention) and kept.low < 100 * floor <= kept.value
    ]


def side_by_side(summaries: Sequence[Summary]) -> list[Side]:
    """Return every (task, shots) of any run by its own metric, target first, in the order in which the runs name them."""
    rows: dict[tuple[str, str, int, str], list[TaskResult | None]] = {}
    for indexion, summary in enumerate(summaries):
        for line in [*summary.by_own_metric("target"), *summary.by_own_metric("general")]:
            # By the metric too: two runs may score one task by different ones, and their numbers do not compare.
            row = rows.setdefault((line.task, line.role, line.shots, line.metric), [None] * len(summaries))
            row[indexion] = line
    order = {task: indexion for indexion, task in enumerate(dict.fromkeys(task for task, *_ in rows))}
    sides = [Side(*key, lines) for key, lines in rows.items()]
    return sorted(sides, key=lambda side: (side.role != "target", order[side.task], side.shots))


def general_first(sides: Sequence[Side]) -> Folded[Side]:
    """Return the general tasks of several runs: of many, the worst change in any run first, and those that all runs kept apart."""
    return folded([side for side in sides if side.role == "general"], lambda side: side.lines)


def _table(summaries: Sequence[Summary], first: int) -> Table:
    grid = plain_table()
    grid.add_column("task", overflow="fold", min_width=8)
    grid.add_column("k", justify="right", no_wrap=True)
    grid.add_column("base", justify="right", no_wrap=True)
    for number in range(first, first + len(summaries)):
        grid.add_column(f"({number})", justify="right", no_wrap=True)
    all_sides = side_by_side(summaries)
    targets = [side for side in all_sides if side.role == "target"]
    sides = [*targets, *general_first(all_sides).shown]
    for index, side in enumerate(sides):
        if index and sides[index - 1].role != side.role:
            grid.add_row()  # an empty line between the target and the general tasks
        cells = [_changed(line) for line in side.lines]
        grid.add_row(side.task, str(side.shots), value(side.base), *cells)
    grid.add_row()
    gains, kept = [summary.gain for summary in summaries], [summary.retention for summary in summaries]
    for name, estimates in (("gain (points)", gains), ("retention (%)", kept)):
        grid.add_row(name, "", "", *_points([e and e.value for e in estimates], plus=estimates is gains))
        # Rows of their own: with the interval in a cell, six runs would not fit into 80 columns.
        grid.add_row("  95 % low", "", "", *_points([e and e.low for e in estimates]))
        grid.add_row("  95 % high", "", "", *_points([e and e.high for e in estimates]))
    return grid


def _points(values: Sequence[float | None], plus: bool = False) -> list[str]:
    return [units.points(value, plus) if value is not None else "-" for value in values]


def _changed(line: TaskResult | None) -> Text:
    if line is None or line.headline is None or line.headline.delta is None:
        return Text("-")
    score, word = line.headline, line.verdict
    if line.floored:
        return Text(f"{units.shown(score, 'delta')} f", "dim")
    # The sign says in text what the colour says: colours are lost in a file.
    return Text(f"{units.shown(score, 'delta')} {SIGN[word]}", STYLE[word] if word else "")

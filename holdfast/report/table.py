"""The report for a terminal: a table that fits 80 columns and a log file, and the verdict in plain words."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.report import folder, units, verdict, words
from holdfast.report.folder import Folder
from holdfast.report.summary import STATE, Line, Summary, share
from holdfast.scores import Score

STYLE: dict[verdict.Word, str] = {"gained": "green", "kept": "", "lost": "bold red", "unclear": "dim"}
NOTE = (
    "Points of 100 (metrics without an upper end in their own unit). "
    "delta: tuned - base on the same items, [95 % interval]."
)


def terminal(run_folder: str | Path) -> RenderableType:
    """The report of a run as something rich can print. Colour is never the only carrier of a meaning."""
    run = folder.read(run_folder)
    summary = Summary.of(run.scores)
    parts: list[RenderableType] = [_table(summary), Text(NOTE + _states(summary), style="dim"), Text()]
    parts += [Text(text) for text in _facts(summary)]
    parts += [Text(), Text(words.plain(words.verdict_on(summary)), style="bold")]
    parts += [Text(f"Absent: {sentence}", style="dim") for sentence in run.absent]
    if (run.path / "report.html").exists():
        parts.append(Text(f"Page: {run.path / 'report.html'}"))
    return Group(*parts)


def text(renderable: RenderableType, width: int | None = None) -> str:
    """A renderable as plain text: `width` columns, else those of COLUMNS, else 80."""
    console = Console(width=width or int(os.environ.get("COLUMNS") or 80), color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def comparison(runs: Sequence[Folder]) -> RenderableType:
    """Runs side by side: one line per (task, shots), one column per run (change, and a sign for the verdict)."""
    table = _plain_table()
    table.add_column("task", overflow="fold", min_width=8)
    table.add_column("k", justify="right", no_wrap=True)
    table.add_column("base", justify="right", no_wrap=True)
    for number in range(1, len(runs) + 1):
        table.add_column(f"({number})", justify="right", no_wrap=True)
    summaries = [Summary.of(run.scores) for run in runs]
    found: dict[tuple[str, str, int, str], dict[int, Line]] = {}
    for place, summary in enumerate(summaries):
        for role in ("target", "general"):
            for line in summary.first_metric(role):
                found.setdefault((line.role, line.task, line.shots, line.metric), {})[place] = line
    previous = "target"
    for (role, task, shots, _), by_run in sorted(found.items(), key=lambda item: item[0][0] != "target"):
        if role != previous and table.rows:
            table.add_section()
        previous = role
        base = next((line.base for line in by_run.values() if line.base), None)
        cells = [_changed(by_run[place].headline) if place in by_run else Text("-") for place in range(len(runs))]
        table.add_row(task, str(shots), _value(base), *cells)
    table.add_section()
    gains, kept = [summary.gain for summary in summaries], [summary.retention for summary in summaries]
    for name, estimates in (("gain (points)", gains), ("retention (%)", kept)):
        table.add_row(name, "", "", *_points([e and e.value for e in estimates], plus=estimates is gains))
        table.add_row("  95 % low", "", "", *_points([e and e.low for e in estimates]))
        table.add_row("  95 % high", "", "", *_points([e and e.high for e in estimates]))
    names = [Text(f"({number}) {run.path}") for number, run in enumerate(runs, 1)]
    key = "Change to each run's own base in points; + gained, = kept, ! lost, ? not resolvable at this n (95 %)."
    return Group(table, Text(key, style="dim"), *names)


def _plain_table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)


def _table(summary: Summary) -> Table:
    """One line per (task, shots, metric) that judges answers; target first."""
    judged = [line for line in summary.lines if not units.is_symptom(line.metric)]
    states = [state for state in STATE if any(state in line.tuned for line in judged)]
    table = _plain_table()
    table.add_column("task", overflow="fold", min_width=10)
    table.add_column("k", justify="right", no_wrap=True)
    table.add_column("metric", overflow="fold", max_width=11)
    for name in ("base", *("tuned" if state is None else state for state in states)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("delta", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for place, line in enumerate(judged):
        if place and judged[place - 1].role != line.role:
            table.add_section()
            table.add_row()
        said = verdict.of_score(line.headline) if line.headline else None
        table.add_row(
            line.task,
            str(line.shots),
            line.metric,
            _value(line.base),
            *[_value(line.tuned.get(state)) for state in states],
            _delta(line.headline),
            str(line.any.n),
            Text(said or "-", style=STYLE[said] if said else ""),
        )
    return table


def _states(summary: Summary) -> str:
    """What the columns and the verdict words mean, where the run has a removable prompt."""
    both = any({"on", "off"} <= set(line.tuned) for line in summary.lines)
    prompt = " on/off: prompt attached/removed; delta is on for the target, off for general tasks." if both else ""
    return f" k: shots.{prompt} unclear: not resolvable at this n."


def _facts(summary: Summary) -> list[str]:
    """Gain, retention and format share, one a line."""
    found = []
    if gain := summary.gain:
        found.append(f"gain           {units.points(gain.value, True)} points {words.interval(gain)} on the target")
    if (kept := summary.retention) and (moved := summary.general_change):
        size, change = units.points(kept.value), units.points(moved.value, True)
        found.append(f"retention      {size} % {words.interval(kept)} of the base's mean on general tasks")
        found.append(f"general change {change} points {words.interval(moved)}, mean of {moved.n} tasks")
    if format_share := share(summary.symptom("format_share")):
        base, tuned = (units.points(value) for value in format_share)
        found.append(f"format share   {base} % -> {tuned} %: general answers in the format of the tuned task")
    return found


def _points(values: Sequence[float | None], plus: bool = False) -> list[str]:
    return [units.points(value, plus) if value is not None else "-" for value in values]


def _value(score: Score | None) -> str:
    return units.shown(score) if score else "-"


def _delta(score: Score | None) -> str:
    return units.with_interval(score, "delta") if score and score.delta is not None else "-"


def _changed(score: Score | None) -> Text:
    if score is None or score.delta is None:
        return Text("-")
    said = verdict.of_score(score)
    letter = {"gained": "+", "kept": "=", "lost": "!", "unclear": "?", None: ""}[said]
    return Text(f"{units.shown(score, 'delta')} {letter}", STYLE[said] if said else "")

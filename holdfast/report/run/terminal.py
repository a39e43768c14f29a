"""The report of a run for a terminal: a table that fits 80 columns and a log file, and the verdict in plain words."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.report import judge, sentences
from holdfast.report.console import STYLE, path_line, plain_table, value
from holdfast.report.fold import folded, of_line
from holdfast.report.language_grid import tables
from holdfast.report.run import disguises
from holdfast.results import run_folder, units
from holdfast.results.evidence import read_evidence, same_model
from holdfast.results.flips import flips
from holdfast.results.judged import read_judge
from holdfast.results.scores import Score
from holdfast.results.summary import STATE, Summary, TaskResult, share

NOTE = (
    "Points of 100 (metrics without an upper end in their own unit). "
    "delta: tuned - base on the same items, [95 % interval]."
)


def terminal(path: str | Path) -> RenderableType:
    """Return the report of a run as something that rich can print. Colour is never the only carrier of a meaning."""
    run = run_folder.read(path)
    summary = Summary.of(run.scores)
    # Symptoms describe and are not judged: a row with a verdict's place empty would look like a missing one.
    judged = [line for line in summary.lines if not units.is_symptom(line.metric)]
    general = folded([line for line in judged if line.role == "general"], of_line)
    before, after = ([line for line in judged if line.role == role] for role in ("target", "diagnostic"))
    parts: list[RenderableType] = [_table([*before, *general.shown, *after])]
    parts += [Text(general.text)] if general.text else []
    parts += [Text(NOTE + _states(summary), style="dim"), *tables(run.scores), Text()]
    parts += [Text(text) for text in _facts(summary)]
    moved = flips(run.outputs, summary)
    if moved:
        lost, gained, wrong = moved.total.values()
        answers = sum(moved.compared.values())
        parts.append(
            Text(f"items moved    {lost} lost, {gained} gained, {wrong} wrong in another way than before, of {answers}")
        )
    parts += [Text(), Text(sentences.verdict_on(summary), style="bold")]
    if same := same_model(read_evidence(run.path), bool(summary.by_own_metric("target"))):
        parts.append(Text(same, style="bold red"))
    parts += [Text(sentence) for sentence in _notes(run.scores, summary) if sentence]
    parts += [Text(pair.sentence()) for pair in disguises.pairs(summary)]
    if record := read_judge(run.path):
        parts.append(judge.terminal(record))
    parts += [Text(f"Absent: {sentence}", style="dim") for sentence in run.absent]
    if (run.path / "report.html").exists():
        parts.append(path_line(f"Page: {run.path / 'report.html'}"))
        if moved.items:
            parts.append(path_line(f"Items that moved: {run.path / 'report.html'}#flips"))
            parts.append(path_line(f"  all of them here: holdfast report {shlex.quote(str(run.path))} --moved all"))
    return Group(*parts)


def _notes(scores: Sequence[Score], summary: Summary) -> list[str]:
    return [sentences.first_stage(scores), sentences.noise(summary), sentences.chance(summary)]


def _table(judged: Sequence[TaskResult]) -> Table:
    """Return the table: one line per (task, shots, metric) that judges answers; target first, diagnostics last."""
    # Columns for the states that occur: a run without a prompt would have two empty ones, and 80 columns are few.
    states = [state for state in STATE if any(state in line.tuned for line in judged)]
    table = plain_table()
    table.add_column("task", overflow="fold", min_width=10)
    table.add_column("k", justify="right", no_wrap=True)
    table.add_column("metric", overflow="fold", max_width=13)
    for name in ("base", *("tuned" if state is None else state for state in states)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("delta", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for index, line in enumerate(judged):
        if index and judged[index - 1].role != line.role:
            table.add_section()
            table.add_row()  # an empty line: without borders a section alone cannot be seen
        word = line.verdict
        table.add_row(
            line.task,
            str(line.shots),
            line.metric,
            value(line.base),
            *[value(line.tuned.get(state)) for state in states],
            _delta(line.headline),
            str(line.any.n),
            Text(_floor(line), style="dim") if line.floored else Text(word or "-", style=STYLE[word] if word else ""),
        )
    return table


def _states(summary: Summary) -> str:
    """Return the explanation of the columns and verdict words, of the prompt's states only where the run has a removable prompt."""
    both = any({"on", "off"} <= set(line.tuned) for line in summary.lines)
    prompt = " on/off: with the prompt, without it; delta takes on for the target, off for all others." if both else ""
    last = " The last block is of diagnostics, which count in no mean." if summary.by_own_metric("diagnostic") else ""
    doubtful = [_doubtful(line) for line in summary.floored]
    floor = " floor: the base is not above chance; in no mean." if not all(doubtful) else ""
    floor += " floor?: the base may be no better than chance; in no mean." if any(doubtful) else ""
    return f" k: shots.{prompt} unclear: too few items to tell kept from lost.{floor}{last}"


def _doubtful(line: TaskResult) -> bool:
    return line.chance is not None and line.chance.word == "unclear"


def _floor(line: TaskResult) -> str:
    """Return the verdict's place of a line that has none: whether its base is not above chance, or may be no better than it."""
    return "floor?" if _doubtful(line) else "floor"


def _facts(summary: Summary) -> list[str]:
    """Return gain, backward transfer, retention, general change, label mass and format share, one a line, those that were measured."""
    facts = []
    if gain := summary.gain:
        count = len({line.task for line in summary.by_own_metric("target")})
        where = "on the target" if count == 1 else f"mean of {count} targets"
        facts.append(f"gain           {units.points(gain.value, True)} points {sentences.interval(gain)} {where}")
    if moved := summary.transfer:
        where = f"on {sentences.earlier(summary)}"
        facts.append(f"BWT            {units.points(moved.value, True)} points {sentences.interval(moved)} {where}")
    if (kept := summary.retention) and (moved := summary.general_change):
        size, change = units.points(kept.value), units.points(moved.value, True)
        facts.append(f"retention      {size} % {sentences.interval(kept)} of the base's mean on general tasks")
        where = f"mean of {moved.n} task{'s' if moved.n > 1 else ''}"
        facts.append(f"general change {change} points {sentences.interval(moved)}, {where}")
    elif (
        summary.general_change or summary.floored
    ):  # said, because a missing line would be taken for a run without general tasks
        facts.append("retention      unclear: the base is not shown to be above chance on general tasks")
    if "first_token_mass" in summary.symptoms and (mass := share(summary.symptom("first_token_mass"))):
        base, tuned = (units.points(value) for value in mass)
        facts.append(f"label mass     {base} % -> {tuned} %: {units.meaning('first_token_mass')}")
    if summary.collapse and (shares := share(summary.symptom(summary.collapse))):
        name, (base, tuned) = summary.collapse.replace("_", " "), (units.points(value) for value in shares)
        facts.append(f"{name:<14} {base} % -> {tuned} %: general {units.meaning(summary.collapse)}")
    return facts


def _delta(score: Score | None) -> str:
    # Without a blank between the bounds: beside the columns of an attached and a removed prompt, 16 letters of a task's name fit so.
    return units.with_interval(score, "delta").replace(", ", ",") if score and score.delta is not None else "-"

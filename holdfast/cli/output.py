"""Output of the command line: results to stdout; warnings, and errors in one line, to stderr."""

import errno
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from holdfast.results.visible import Visible, visible, visible_json

DEBUG = "--debug"
WIDTH = 100  # where stdout is no terminal
MOST_NAME = 24
TRAINING = ("tune", "study")  # commands whose --set reaches the fields of training
FIELDS_BY_SET = (
    "holdfast: learning rate, steps, batch size and all other fields are set by --set, such as --set model.learning_rate=3e-5 --set "
    "model.steps=200; `holdfast methods promot` lists them"
)


def show(renderable: Any) -> None:
    """Print something rich can print, at least 80 columns wide where stdout is no terminal."""
    console = Console()
    # A file or a pipe has no width; rich would take that of some terminal around it, and fold tables into it.
    if not console.is_terminal:
        console.width = max(80, console.width if console.width != 80 else 80)
    # Not cropped: a path that is wider than the terminal is copied whole; all else is wrapped.
    console.print(Visible(renderable), markup=False, highlight=False, crop=False)


def run(folder: Path) -> None:
    """Print a finished run: table, verdict, page."""
    from holdfast.report.run.terminal import terminal

    show(terminal(folder))


def verdicts(folders: Sequence[Path]) -> None:
    """Print what each run gained and lost, in words."""
    from holdfast.report import sentences
    from holdfast.results.scores import read_scores
    from holdfast.results.summary import Summary

    for folder in folders:
        headline = " ".join(
            sentences.plain(sentence) for sentence in sentences.headline(Summary.of(read_scores(folder))) if sentence
        )
        show(f"\n{folder.name}: {headline}")


def table(scores: Sequence[Any]) -> None:
    """Print scores without a comparison: one line per task, one column per number of shots, in points of 100."""
    from holdfast.report import language_grid
    from holdfast.report.console import plain_table
    from holdfast.results import units

    shots, metrics = sorted({s.shots for s in scores}), list(dict.fromkeys(s.metric for s in scores))
    grid = plain_table()
    grid.add_column("task", overflow="fold")
    if len(metrics) > 1:  # One for all stands below the table: three columns of intervals leave little room for names.
        grid.add_column("metric", overflow="fold")
    grid.add_column("n", justify="right")
    for k in shots:
        grid.add_column(f"{k} {'shot' if k == 1 else 'shots'}", justify="right", no_wrap=True)
    by_cell = {(s.task, s.metric, s.shots): s for s in scores}
    # Without repeats and in the order in which the tasks were asked, which is the user's.
    for task, metric in dict.fromkeys((s.task, s.metric) for s in scores):
        cells = [by_cell.get((task, metric, k)) for k in shots]
        n = next(s.n for s in cells if s)
        names = (task, metric) if len(metrics) > 1 else (task,)
        grid.add_row(*names, str(n), *[_cell(s) if s else "-" for s in cells])
    show(grid)
    for part in language_grid.tables(scores):
        show(part)
    endless = [metric for metric in metrics if units.factor(metric) is None]
    unit = "in its own unit" if len(endless) == len(metrics) == 1 else "points of 100"
    if endless and len(metrics) > 1:
        unit += f" ({', '.join(endless)}: its own unit)"
    legend = f"{f'{metrics[0]}, ' if len(metrics) == 1 else ''}{unit} [95 % interval over items]"
    if sets := max((s.sets for s in scores), default=1) - 1:
        legend += f"; ±: standard deviation over {sets + 1} sets of demonstrations"
    if prompt := next((s.prompt for s in scores if s.prompt), None):
        legend += f"; soft prompt {'attached' if prompt == 'on' else 'removed'}"
    print(fill(f"{legend[0].upper() if len(metrics) > 1 else legend[0]}{legend[1:]}."))


def _cell(score: Any) -> str:
    from holdfast.results import units

    value, low, high = (units.shown(score, name) for name in ("value", "low", "high"))
    return f"{value} [{low},{high}]" + ("" if score.over_sets is None else f"\n±{units.shown(score, 'over_sets')}")


def findings(records: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print the findings of analyses, one line each."""
    if as_json:
        lines(records)
    elif records:
        grid = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("analysis", "measure", "where"):
            grid.add_column(name)
        grid.add_column("value", justify="right")
        for record in records:
            grid.add_row(record["analysis"], record["measure"], record["where"], f"{record['value']:.4g}")
        show(grid)


def of_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the scores of several runs as JSON objects, each with its run's folder."""
    from holdfast.results.scores import read_scores

    records: list[dict[str, Any]] = []
    for folder in folders:
        # With the folder: a program that reads the lines could not tell the runs apart otherwise.
        records += [asdict(score) | {"run": str(folder)} for score in read_scores(folder)]
    return records


def judges(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what a judge says of the models of each folder, as JSON objects with the key `judged`, each with its folder."""
    from holdfast.results.judged import read_judge

    records = [(folder, read_judge(folder)) for folder in folders]
    return [{"judged": asdict(record), "run": str(folder)} for folder, record in records if record]


def judge_verdicts(folders: Sequence[Path]) -> None:
    """Print what a judge says of the models of each folder, in a sentence."""
    from holdfast.report.judge import verdict
    from holdfast.results.judged import read_judge

    for folder in folders:
        if record := read_judge(folder):
            show(f"\n{folder.name}, by the judge {record.judge.argument}: {verdict(record)}")


def facts(values: dict[str, Any]) -> None:
    """Print names and values, one a line."""
    width = max(map(len, values))
    for name, value in values.items():
        print(visible(f"{name:<{width}}  {value}"))


def scores(records: Iterable[Any], as_json: bool, otherwise: Callable[[], None]) -> None:
    """Print scores as JSON lines, or call the function that prints them for a person."""
    if as_json:
        lines(asdict(score) for score in records)
    else:
        otherwise()


def lines(records: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line."""
    for record in records:
        # Flushed line by line: a program at the other end of a pipe may act on each.
        print(visible_json(json.dumps(record, ensure_ascii=False)), flush=True)


def listing(records: Sequence[Mapping[str, Any]], as_json: bool, explained: str = "") -> None:
    """Print names with a summary; indented, what was measured, and the source and the fields that `--set` reaches, with their defaults.

    Where a command `explained NAME` prints the last two, they are left out: with them the list would be read by nobody.
    """
    if as_json:
        lines(records)
        return
    if not records:  # To stderr: whoever counts the lines of stdout gets 0.
        print("None is built in yet.", file=sys.stderr)
    # A name alone on its line where it is long: the column of summaries would have no room left.
    width = min(MOST_NAME, max((len(r["name"]) for r in records), default=0))
    group = None
    for r in records:
        if r.get("group", group) != group:
            print(f"{'' if group is None else chr(10)}{fill(r['group'])}\n")
            group = r["group"]
        fields = " ".join(f"{name}={default}" for name, default in r.get("fields", {}).items())
        start = f"{r['name']:<{width}}  "
        if len(r["name"]) > width:
            print(r["name"])
            start = f"{'':<{width}}  "
        print(fill(r["summary"], start, " " * (width + 2)))
        details = (r.get("measured"),) if explained else (r.get("measured"), r["source"], fields)
        for detail in filter(None, details):
            print(fill(detail, " " * (width + 4), " " * (width + 4)))
    if explained:
        print(f"\n{fill(f'`{explained} NAME` explains one: when to use it, its source, every field and an example.')}")


def fill(text: str, start: str = "", indent: str = "") -> str:
    """Return text in lines as wide as the terminal, or 100 columns where there is none; the first one begins with `start`."""
    width = max(40, shutil.get_terminal_size((WIDTH, 24)).columns)
    # A name with dashes, or a path, is found and copied whole.
    return textwrap.fill(
        text, width, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def numbers(text: str) -> tuple[int, ...]:
    """Parse `0,1,4` into (0, 1, 4), ascending and each once.

    Raises:
        ValueError: a part is no whole number, or negative.
    """
    try:
        counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise ValueError(f"--shots {text}: write whole numbers with commas, such as 0,1,4") from None
    if any(k < 0 for k in counts):
        raise ValueError(f"--shots {text}: a number of demonstrations cannot be negative")
    return counts


def assignment(text: str) -> tuple[str, Any]:
    """Parse `alpha=0.5` into ("alpha", 0.5).

    Raises:
        ValueError: there is no equals sign.
    """
    from holdfast.recipes.assignments import literal

    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: write field=value, such as alpha=0.5")
    return name.strip(), literal(value)


def decoding(name: str | None, assignments: Sequence[str] | None) -> Any:
    """Return the technique of `--decode` with the fields of `--set decode.field=value`; None where none is named."""
    from holdfast.plugins import DECODINGS, configure
    from holdfast.recipes.assignments import parse

    settings = parse(list(assignments or ()))
    # Other sections belong to `tune` and `study`; ignored here, they would look as if they had been obeyed.
    for section in settings:
        if section != "decode" or name is None:
            raise ValueError(
                f"--set {section}.{next(iter(settings[section]))}: only decode.field=value, beside --decode NAME, is set here"
            )
    return None if name is None else configure(DECODINGS, name, settings.get("decode", {}), "decode")


def guarded(command: Callable[[], None]) -> None:
    """Run a command; an error becomes one line on stderr (a traceback with --debug) and exit code 1, and so is a mistyped one."""
    # Taken out by hand, so that it works behind every command, where Typer would know no such option.
    debug = DEBUG in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != DEBUG]
    try:
        command()
    except SystemExit as end:
        # Typer ends a mistyped command with 2, by which a gate says that a model has lost something.
        if end.code == 2 and not isinstance(end.__context__, typer.Exit):
            context = getattr(end.__context__, "ctx", None)
            if hasattr(end.__context__, "option_name") and context and context.command.name in TRAINING:
                # `--lr` and `--epochs`, as other tools have them.
                print(fill(FIELDS_BY_SET), file=sys.stderr)
            sys.exit(1)
        raise
    except (ValueError, OSError) as error:
        # These two say that a file, an option or a disk is wrong. All others are faults of ours, and keep their traceback.
        if debug:
            raise
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        hint = "the disk is full; free some space and give the same command again, it goes on where it stopped: "
        # Several faults of a file are a line each, and a program that reads stderr takes every one by its beginning.
        for line in f"{hint if full else ''}{message(error)}".rstrip("\n").split("\n"):
            print(f"holdfast: {visible(line)}", file=sys.stderr)
        sys.exit(1)


def message(error: Exception) -> str:
    """Return an error's text; of a system's error about a file, the file comes first and the number is left out."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)

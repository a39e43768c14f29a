"""Models and runs side by side: `holdfast compare`, and the end of `demo` and `evaluate --against`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import output
from holdfast.cli.options import CompareOut, Json


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or folders that hold runs.")],
    floor: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Exit with 2 where a run keeps less than this share on the general tasks, such as 0.95."
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="YAML: what must be kept. Exit 0 kept, 2 lost, 3 unclear at this number of items (docs/gate.md)."
        ),
    ] = None,
    summary: Annotated[Path | None, typer.Option(help="With --policy: write the outcome here, as Markdown.")] = None,
    out: CompareOut = None,
    json_: Json = False,
) -> None:
    """Put runs side by side; with --policy, a gate for CI."""
    if policy is None:
        if summary is not None:
            raise ValueError("--summary: is the outcome of a policy; give --policy FILE too")
        comparison(runs, floor, out, json_)
    elif floor is not None or out is not None:
        raise ValueError(
            "--floor and --out: not with --policy, which has `retention` for the one; the other shows runs side by side"
        )
    else:
        _gate(runs, policy, summary, json_)


def _gate(folders: list[Path], policy: Path, summary: Path | None, json_: bool) -> None:
    """Hold runs against a policy, print what is not kept, and exit with the outcome."""
    from holdfast.api import gate
    from holdfast.results.run_folder import expanded

    try:
        judged = gate.gate(expanded(folders), policy)
    except (ValueError, OSError) as error:
        # A step of CI that comments with the file shows this, and not what an earlier build has left there.
        if summary is not None:
            gate.write_failure(output.message(error), policy, summary)
        raise
    if summary is not None:
        gate.write_summary(judged, policy, summary)
    if json_:
        for run in judged:
            output.lines(asdict(check) | {"run": str(run.folder)} for check in run.checks)
    for run in judged:
        if run.same:
            print(output.fill(f"holdfast: {run.folder}: {run.same}"), file=sys.stderr)
    for run in () if json_ else judged:
        print(output.fill(f"{run.folder}: {run.outcome} ({run.counts.removesuffix('.')})", indent="  "))
        word = ""
        for check in (check for check in run.worst_first if check.outcome != "kept"):
            if check.outcome != word:
                word = check.outcome
                print(f" {word}:")
            wide = f", widened {gate.limits(check.widened)}" if check.widened and len(run.checks) > 1 else ""
            print(output.fill("; ".join([check.rule, *gate.why(check)]), "  ", "    "))
            # Never longer than 80 columns, so that no interval is parted.
            print(f"    {gate.measured(check)}{wide}, {check.items} items")
        for sentence in run.unchecked:
            print(output.fill(f"not compared with what was measured: {sentence}", "  ", "    "))
    if not json_ and any(run.outcome != "kept" for run in judged):
        print(output.fill(gate.DECIDES))
    raise typer.Exit(gate.worst(judged))


def against(folders: list[Path], json_: bool) -> None:
    """Print the report of a model beside the one that it was tuned from, or several such models side by side."""
    if json_:
        output.lines(output.of_runs(folders))
        output.lines(output.judges(folders))
    elif len(folders) == 1:
        output.run(folders[0])
    else:
        comparison(folders, None, None, json_)
        output.judge_verdicts(folders)
        print(f"Pages: {folders[0].parent / 'comparison.html'}; {', '.join(str(f / 'report.html') for f in folders)}")


def comparison(runs: list[Path], floor: float | None, out: Path | None, json_: bool) -> None:
    """Print runs side by side, in words too, and write their page; exit 2 where one misses the floor."""
    from holdfast.report.compare.compare import compare as side_by_side
    from holdfast.report.compare.compare_page import write_comparison
    from holdfast.results.run_folder import expanded, finished

    # A floor decides, and must not hold because a run is missing.
    runs, without = finished(runs) if floor is None else (expanded(runs), [])
    for path in without:
        print(output.fill(f"holdfast: {path}: its run is not finished, and is left out"), file=sys.stderr)
    shown, missed = side_by_side(runs, floor)
    page = write_comparison(runs, out, floor) if out else None
    if json_:
        output.lines(output.of_runs(runs))
    else:
        output.show(shown)
        output.verdicts(runs)
        if page:
            print(f"Page: {page}")
    if missed:  # A code of its own, so that a pipeline can tell a model that forgot from a command that failed.
        raise typer.Exit(2)

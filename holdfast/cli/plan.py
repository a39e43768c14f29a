"""`holdfast tune --plan`: what a run would do, how long it would take, and the memory; nothing is kept."""

import sys
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from holdfast.api.preview import SOONER, Preview, about, preview
from holdfast.api.request import Request, plan_run
from holdfast.cli import output
from holdfast.report.console import plain_table
from holdfast.results.visible import visible


def show_plan(request: Request, json_: bool) -> None:
    """Plan a run, time a few of its steps and items, and print both."""
    # In a folder that does not exist: the date of an earlier run does not matter for the time that this one takes.
    planned = preview(plan_run(*request.read(), Path("runs") / "plan" / "none"))
    if json_:
        output.lines([asdict(planned) | {"seconds": planned.seconds}])
    else:
        show(planned, request.limit)


def show(planned: Preview, limit: int | None) -> None:
    """Print a plan for a person: stages, evaluations, time and memory on stdout, then the warnings on stderr."""
    stages = _table("training stage", "trains with", "steps", "rows a step", "about")
    for stage in planned.stages:
        time = "not timed" if stage.seconds is None else about(stage.seconds)
        stages.add_row(stage.name, stage.techniques, str(stage.steps or "-"), str(stage.rows or "-"), time)
    output.show(stages)
    print()
    evaluations = _table("asked", "tasks", "shots", "items", "about")
    for evaluation in planned.evaluations:
        counts = ",".join(map(str, evaluation.shots))
        evaluations.add_row(
            evaluation.subject, str(evaluation.tasks), counts, f"{evaluation.items:,}", about(evaluation.seconds)
        )
    output.show(evaluations)
    print()
    asking = planned.asking
    time = f"Time: about {about(planned.seconds)}, as busy as this machine is now: {about(planned.training)} to train"
    print(output.fill(f"{time}, {about(asking)} to ask {planned.items:,} items, the rest to load the model."))
    # What most first runs stumble over: the measuring takes many times the training, and there is an option for it.
    fewer, seconds = planned.sooner
    if limit is None and asking > planned.training and fewer < planned.items / 2:
        print(
            output.fill(f"Sooner: --limit {SOONER} asks {fewer:,} items, about {about(seconds)}, with wider intervals.")
        )
    print(f"Memory: {planned.memory / 2**30:.1f} GiB at most, so far as a few steps of each stage show.")
    print("Nothing was written; the same command without --plan runs it.")
    # Last, because who reads the plan reads its end.
    for warning in planned.warnings:
        print(output.fill(visible(f"holdfast: {warning}")), file=sys.stderr)


def _table(*heads: str) -> Table:
    table = plain_table(gap=2)
    for name in heads:
        table.add_column(
            name,
            overflow="fold",
            justify="right" if name in ("steps", "rows a step", "tasks", "items", "about") else "left",
        )
    return table

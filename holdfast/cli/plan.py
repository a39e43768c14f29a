"""`holdfast tune --plan`: what a run would do, how long it would take, and the memory; nothing is kept."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from holdfast.api.preview import Preview, about, preview
from holdfast.api.request import plan_run, read_request
from holdfast.cli import output
from holdfast.models.precision import Loading
from holdfast.recipes.pipeline import Techniques


def show_plan(
    model: str, task: list[str], techniques: Techniques, general: list[str] | None, shots: tuple[int, ...], limit: int | None, curve: int,
    analyses: Sequence[str], noise_floor: bool, trust_remote_code: bool, settings: dict[str, dict[str, Any]], loading: Loading, json_: bool,
    demonstrations: str = "first",
) -> None:  # fmt: skip
    """Plan a run, time a few of its steps and items, and print both."""
    request, tasks = read_request(
        model, task, techniques, general, shots=shots, limit=limit, curve=curve, analyses=analyses, noise_floor=noise_floor,
        trust_remote_code=trust_remote_code, settings=settings, loading=loading, demonstrations=demonstrations,
    )  # fmt: skip
    # In a folder that does not exist: the date of an earlier run does not matter for the time that this one takes.
    planned = preview(plan_run(request, tasks, Path("runs") / "plan" / "none"))
    if json_:
        output.lines([asdict(planned) | {"seconds": planned.seconds}])
    else:
        _print(planned)


def _print(planned: Preview) -> None:
    stages = _table("stage", "trains with", "steps", "rows", "about")
    for stage in planned.stages:
        time = "not timed" if stage.seconds is None else about(stage.seconds)
        stages.add_row(stage.name, stage.techniques, str(stage.steps or "-"), str(stage.rows or "-"), time)
    output.show(stages)
    print()
    evaluations = _table("evaluation", "tasks", "shots", "items", "about")
    for evaluation in planned.evaluations:
        counts = ",".join(map(str, evaluation.shots))
        evaluations.add_row(
            evaluation.name, str(evaluation.tasks), counts, str(evaluation.items), about(evaluation.seconds)
        )
    output.show(evaluations)
    items = sum(evaluation.items for evaluation in planned.evaluations)
    training = sum(stage.seconds or 0.0 for stage in planned.stages)
    print(
        f"\nAbout {about(planned.seconds)} on this machine as it is now: {about(training)} of training, the rest to load the model "
        f"and to ask {items} items.\nMemory so far, after a few steps of each stage: {planned.memory / 2**30:.1f} GiB. Nothing was written."
    )


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in heads:
        table.add_column(
            name, overflow="fold", justify="right" if name in ("steps", "rows", "tasks", "items", "about") else "left"
        )
    return table

"""Say what a run would do, and how long it would take, without doing it: the Python name behind `holdfast tune --plan`."""

import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
import torch

from holdfast.api.request import RunPlan
from holdfast.evaluation.progress import duration, task_items
from holdfast.plugins import snake
from holdfast.stages.evaluate import Evaluate, LabelMass
from holdfast.stages.loader import Loader
from holdfast.stages.measure import plan_measurements
from holdfast.stages.stage import Stage, execute
from holdfast.stages.train import Train

try:
    import resource
except ImportError:  # Windows, whose own count psutil has.
    resource = None

STEPS = 4  # timed of each training stage; the first warms up and is left out
ITEMS = 4  # asked of each task, for the time of one


@dataclass(frozen=True)
class PlannedStage:
    """A stage before it runs: `seconds` is an estimate from a few timed steps, None where nothing was timed."""

    name: str
    techniques: str
    steps: int
    rows: int
    seconds: float | None


@dataclass(frozen=True)
class PlannedEvaluation:
    """An evaluation before it runs, with the number of items that it asks (0 where the harness alone knows)."""

    name: str
    tasks: int
    shots: tuple[int, ...]
    items: int
    seconds: float


@dataclass(frozen=True)
class Preview:
    """A run before it begins. Times are of this machine as it was busy just now; `memory` is the peak so far, in bytes."""

    stages: list[PlannedStage]
    evaluations: list[PlannedEvaluation]
    loading: float
    memory: int

    @property
    def seconds(self) -> float:
        """Return the estimate for all of the run."""
        training = sum(stage.seconds or 0.0 for stage in self.stages)
        return self.loading + training + sum(evaluation.seconds for evaluation in self.evaluations)


def preview(plan: RunPlan) -> Preview:
    """Return what a planned run would do. A few steps of each training stage and a few items of each task are timed in a folder that goes
    away; checkpoints, validation, curations and searches are not counted.
    """
    questions, loader = plan.questions, Loader()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        began = time.perf_counter()
        trust, date = questions.trust_remote_code, questions.date
        loader.load(questions.model, loading=questions.loading, trust_remote_code=trust, date=date)
        loading = time.perf_counter() - began
        per_item = _seconds_an_item(plan, root, loader)
        stages = [_planned(stage, root, loader) for stage in plan.pipeline.stages]
    evaluations: list[PlannedEvaluation] = []
    for planned in plan_measurements(plan.pipeline.stages, questions):
        evaluation = planned.evaluated if isinstance(planned, LabelMass) else planned
        assert evaluation is not None
        items = sum(task_items(ref.task, evaluation.limit) for ref in evaluation.tasks) * len(evaluation.shots)
        seconds = sum(_seconds_of(evaluation, per_item))
        evaluations.append(PlannedEvaluation(planned.name, len(evaluation.tasks), evaluation.shots, items, seconds))
    return Preview(stages, evaluations, loading * (1 + len(stages)), _peak_memory())


def _seconds_of(evaluation: Evaluate, per_item: dict[tuple[str, int], float]) -> list[float]:
    """Return the seconds that each task and number of shots of an evaluation takes."""
    seconds: list[float] = []
    for ref in evaluation.tasks:
        count = task_items(ref.task, evaluation.limit)
        seconds += [count * per_item.get((ref.argument, shots), 0.0) for shots in evaluation.shots]
    return seconds


def _seconds_an_item(plan: RunPlan, root: Path, loader: Loader) -> dict[tuple[str, int], float]:
    """Ask the base a few items of each task at each number of shots; return the seconds of one."""
    seconds: dict[tuple[str, int], float] = {}
    for ref in plan.tasks.refs:
        for shots in plan.questions.shots:
            few = replace(plan.questions, limit=ITEMS, shots=(shots,)).ask(f"time-{ref.file_name}-{shots}", (ref,))
            began = time.perf_counter()
            execute(few, root, loader)
            seconds[ref.argument, shots] = (time.perf_counter() - began) / max(1, task_items(ref.task, ITEMS))
    return seconds


def _planned(stage: Stage, root: Path, loader: Loader) -> PlannedStage:
    if not isinstance(stage, Train):
        return PlannedStage(stage.name, snake(type(stage).__name__), 0, 0, None)
    methods = " + ".join(snake(type(method).__name__) for method in stage.methods)
    settings = stage.settings
    log = execute(_shortened(stage), root, loader) / "log.jsonl"
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    timed = [r["target_tokens"] / r["tokens_per_second"] for r in records if r.get("tokens_per_second")]
    seconds = settings.steps * median(timed[1:] or timed) if timed else None
    return PlannedStage(stage.name, methods, settings.steps, settings.batch_size, seconds)


def _shortened(stage: Train) -> Train:
    """Return a training stage of a few steps without looks, on the tasks as they are; the stages that it stands on are shortened too."""
    settings = replace(stage.settings, steps=min(STEPS, stage.settings.steps), curve=0, stop_at=None)
    methods = tuple(
        replace(method, **{name: _shortened(getattr(method, name)) for name in method.stages})  # pyright: ignore[reportArgumentType]
        for method in stage.methods
    )
    prompts, start = tuple(map(_shortened, stage.prompts)), stage.start and _shortened(stage.start)
    return replace(
        stage, tasks=stage.targets, methods=methods, settings=settings, prompts=prompts, start=start, validation_limit=0
    )  # fmt: skip


def about(seconds: float) -> str:
    """Return a time in words, as the progress of evaluations says it."""
    return duration(seconds)


def _peak_memory() -> int:
    """Return the most memory that this process has taken: of the GPU where one computes, in bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if resource is None:
        return getattr(psutil.Process().memory_info(), "peak_wset", 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB.

"""Say what a run would do, and how long it would take, without doing it: the Python name behind `holdfast tune --plan`."""

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil
import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from holdfast.api.cautions import cautions
from holdfast.api.request import RunPlan
from holdfast.evaluation.ask import shots_of
from holdfast.evaluation.progress import duration, task_items
from holdfast.plugins import name_of
from holdfast.stages.curate import Curate
from holdfast.stages.evaluate import Evaluate, LabelMass
from holdfast.stages.loader import Loader
from holdfast.stages.measure import plan_measurements
from holdfast.stages.stage import Stage, execute
from holdfast.stages.train import Train
from holdfast.tasks.examples.splits import subset

try:
    import resource
except ImportError:  # Windows, whose own count psutil has.
    resource = None

STEPS = 4  # timed of each training stage; the first warms up and is left out
SOONER = 100  # items a task, with which a first run is soon done
ITEMS = 4  # asked of each task, for the time of one
PASSES, ENOUGH = 50, 10  # passes over the training rows beyond which a plan says so, and those that it names instead


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
    """An evaluation before it runs, with the number of items that it asks (0 where the harness alone knows).

    `subject` says in words whom it asks, `sooner` how many items it would be with `--limit 100`.
    """

    name: str
    subject: str
    tasks: int
    shots: tuple[int, ...]
    items: int
    sooner: int
    seconds: float


@dataclass(frozen=True)
class Preview:
    """A run before it begins. Times are of this machine as it was busy just now; `memory` is the peak so far, in bytes."""

    stages: list[PlannedStage]
    evaluations: list[PlannedEvaluation]
    loading: float
    memory: int
    warnings: list[str]

    @property
    def training(self) -> float:
        """Return the estimate for the stages that train."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def items(self) -> int:
        """Return the number of items that are asked, over all evaluations."""
        return sum(evaluation.items for evaluation in self.evaluations)

    @property
    def asking(self) -> float:
        """Return the estimate for all evaluations."""
        return sum(evaluation.seconds for evaluation in self.evaluations)

    @property
    def sooner(self) -> tuple[int, float]:
        """Return the items that `--limit 100` would ask over all evaluations, and the seconds for them."""
        shares = [(e, e.sooner / max(1, e.items)) for e in self.evaluations]
        return sum(e.sooner for e in self.evaluations), sum(share * e.seconds for e, share in shares)

    @property
    def seconds(self) -> float:
        """Return the estimate for all of the run."""
        return self.loading + self.training + self.asking


def preview(plan: RunPlan) -> Preview:
    """Return what a planned run would do. A few steps of each training stage and a few items of each task are timed in a folder that goes
    away; checkpoints, validation, curations and searches are not counted.
    """
    questions, loader, warnings = plan.questions, Loader(), cautions(plan)
    parts = sum(len(shots_of(ref.task, questions.shots)) for ref in plan.tasks.refs) + len(plan.pipeline.stages)
    with tempfile.TemporaryDirectory() as folder, _counting(parts) as timing:
        root = Path(folder)
        began = time.perf_counter()
        trust, date = questions.trust_remote_code, questions.date
        loader.load(questions.model, loading=questions.loading, trust_remote_code=trust, date=date)
        loading = time.perf_counter() - began
        per_item = _seconds_an_item(plan, root, loader, timing)
        stages: list[PlannedStage] = []
        for stage in plan.pipeline.stages:
            timing(f"stage {stage.name}")
            stages.append(_planned(stage, root, loader))
    evaluations: list[PlannedEvaluation] = []
    for planned in plan_measurements(plan.pipeline.stages, questions):
        evaluation = planned.evaluated if isinstance(planned, LabelMass) else planned
        assert evaluation is not None
        counts = [
            (task_items(ref.task, evaluation.limit), len(shots_of(ref.task, evaluation.shots)))
            for ref in evaluation.tasks
        ]
        items = sum(count * times for count, times in counts)
        sooner = sum(min(SOONER, count) * times for count, times in counts)
        seconds = sum(_seconds_of(evaluation, per_item))
        words = _in_words(planned)
        evaluations.append(
            PlannedEvaluation(planned.name, words, len(counts), evaluation.shots, items, sooner, seconds)
        )
    return Preview(stages, evaluations, loading * (1 + len(stages)), _peak_memory(), warnings + passes(plan))


@contextmanager
def _counting(parts: int) -> Iterator[Callable[[str], None]]:
    """Yield a function that says which of the parts is timed now: on one line of a terminal, which goes away, and nowhere else."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("timing {task.description},", markup=False), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        line = progress.add_task("the model", total=parts)
        yield lambda text: progress.update(line, description=text, advance=1)


def passes(plan: RunPlan) -> list[str]:
    """Return a sentence where stages pass over the rows of a target more than `PASSES` times, with the steps of `ENOUGH` passes."""
    seen, fewer = [], []
    for stage in plan.pipeline.stages:
        # How many rows a curation leaves is known once it has run.
        if not isinstance(stage, Train) or any(isinstance(task, Curate) for task in stage.tasks):
            continue
        if any(ref.task.template.asks_nothing for ref in stage.targets):  # One document may be many rows.
            continue
        parts = [subset(ref.task, stage.train_limit, stage.train_share, stage.settings.seed) for ref in stage.targets]
        rows = min(len(part.splits["train"]) for part in parts)
        # Targets have equal parts of every batch.
        batch = stage.settings.batch_size / len(parts)
        times = stage.settings.steps * batch / rows
        if times > PASSES:
            whose = " of the smallest target" if len(parts) > 1 else ""
            seen.append(f"{stage.name} passes over the {rows:,} training rows{whose} about {times:,.0f} times")
            fewer.append(f"--set {stage.name}.steps={math.ceil(ENOUGH * rows / batch)}")
    return [f"{', '.join(seen)}; {' '.join(fewer)} would be {ENOUGH} passes"] if seen else []


def _in_words(planned: Evaluate | LabelMass) -> str:
    """Return in words which model an evaluation asks."""
    evaluation = planned.evaluated if isinstance(planned, LabelMass) else planned
    assert evaluation is not None
    prompt = f", prompt {evaluation.prompt}" if evaluation.prompt else ""
    if evaluation.step == 0:
        return f"before the model trains{prompt}"
    moment = f" at step {evaluation.step}" if evaluation.step is not None else ""
    words = {"base": "the base", "base-again": "the base again", "own-stage": "right after its own stage"}
    return words.get(evaluation.variant, "the tuned model") + moment + prompt


def _seconds_of(evaluation: Evaluate, per_item: dict[tuple[str, int], float]) -> list[float]:
    """Return the seconds that each task and number of shots of an evaluation takes."""
    seconds: list[float] = []
    for ref in evaluation.tasks:
        count = task_items(ref.task, evaluation.limit)
        seconds += [count * per_item.get((ref.argument, k), 0.0) for k in shots_of(ref.task, evaluation.shots)]
    return seconds


def _seconds_an_item(
    plan: RunPlan, root: Path, loader: Loader, timing: Callable[[str], None]
) -> dict[tuple[str, int], float]:
    """Ask the base a few items of each task at each number of shots; return the seconds of one."""
    seconds: dict[tuple[str, int], float] = {}
    for ref in plan.tasks.refs:
        for shots in shots_of(ref.task, plan.questions.shots):
            timing(f"{ref.task.name}, {shots}-shot")
            few = replace(plan.questions, limit=ITEMS, shots=(shots,)).ask(f"time-{ref.file_name}-{shots}", (ref,))
            began = time.perf_counter()
            execute(few, root, loader, quiet=True)
            seconds[ref.argument, shots] = (time.perf_counter() - began) / max(1, task_items(ref.task, ITEMS))
    return seconds


def _planned(stage: Stage, root: Path, loader: Loader) -> PlannedStage:
    if not isinstance(stage, Train):
        return PlannedStage(stage.name, name_of(stage), 0, 0, None)
    methods = " + ".join(name_of(method) for method in stage.methods)
    settings = stage.settings
    log = execute(_shortened(stage), root, loader, quiet=True) / "log.jsonl"
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

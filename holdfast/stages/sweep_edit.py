"""Choose the dial of an edit on validation data, by a stated rule."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from holdfast.atomic_files import write_text
from holdfast.edits.base import Edit
from holdfast.evaluation import ask
from holdfast.evaluation.matrix import evaluate
from holdfast.inference.model import Model
from holdfast.models import resolve
from holdfast.prefix.attached import detached
from holdfast.prompts import load
from holdfast.results.metrics import metric
from holdfast.results.run_folder import RunFolder
from holdfast.results.sweep import SweepPoint, choose
from holdfast.stages.edit import weights_folder, write_edited_model
from holdfast.stages.edit_model import EditModel
from holdfast.stages.stage import Inputs, content_of
from holdfast.stages.train import Train
from holdfast.tasks.task import Task
from holdfast.tasks.task_set import TaskRef
from holdfast.training.processes import processes


@dataclass(frozen=True)
class SweepEdit(EditModel):
    """Edit `tuned` with each value of the field `dial` on `grid`, measure it on validation examples, and keep the best.

    The targets are asked behind `prompt`, where it is given, and the general tasks without. `weight` and `floor` are the rule
    (`results.sweep.choose`); at most `limit` validation examples of each task are asked, without demonstrations.
    """

    KIND: ClassVar[str] = "SweepEdit"

    dial: str = ""
    grid: tuple[float, ...] = ()
    tasks: tuple[TaskRef, ...] = ()
    prompt: Train | None = None
    weight: float = 2.0
    floor: float | None = None
    limit: int = 100
    trust_remote_code: bool = False
    date: str | None = None

    def hashed(self) -> dict[str, Any]:
        """Return the fields, with the fingerprints of the tasks."""
        # What the tasks hold decides which value is chosen, so changed files mean another folder.
        return content_of(self) | {"versions": [ref.version for ref in self.tasks]}

    def check_tasks(self) -> None:
        """Refuse, before anything is trained, tasks that give nothing to choose by.

        Raises:
            ValueError: no target, or no general task, has validation examples.
        """
        for role in ("target", "general"):
            if not any(ref.task.splits.get("validation") for ref in self.tasks if ref.role == role):
                raise ValueError(
                    f"edit.{self.dial}=sweep: no {role} task has validation examples to choose by; add validation.jsonl (or, with "
                    f"--general, a task that has some), or give edit.{self.dial} a value"
                )

    def run(self, folder: Path, inputs: Inputs) -> None:
        """Write `model/` with the chosen value, and `sweep.jsonl` with the point of each."""
        if not processes().is_main_process:
            return
        assert self.edit is not None
        base, tuned = weights_folder(self.model), inputs["tuned"].weights()
        targets = [held for ref in self.tasks if ref.role == "target" if (held := _validation(ref.task))]
        general = [held for ref in self.tasks if ref.role == "general" if (held := _validation(ref.task))]
        self.check_tasks()
        inputs.loader.release()  # Trials change what lies in a folder, so they are loaded here, one after another.
        # The reference of the targets is the tuned model, that of the general tasks the base.
        references = (self._values(tuned.parent, targets, inputs), self._values(None, general, {}))
        points: list[SweepPoint] = []
        trial = folder / "trial"
        # Each trial is written as a model, since that is what will be kept: rounded to the dtype of its files.
        for value in self.grid:
            shutil.rmtree(trial, ignore_errors=True)
            write_edited_model(base, [tuned], self._with(value), trial / "model")
            measured = (self._values(trial, targets, inputs), self._values(trial, general, {}))
            points.append(point := SweepPoint.of(self.dial, value, measured, references))
            shares = f"{100 * point.target:.1f} % of the target, {100 * point.general:.1f} % of the general tasks"
            counted = f"{len(points)} of {len(self.grid)}"
            print(f"edit.{self.dial}={value:g}: {shares}; {counted}", file=sys.stderr, flush=True)
        shutil.rmtree(trial, ignore_errors=True)
        chosen = choose(points, weight=self.weight, floor=self.floor)
        print(f"edit.{self.dial}={chosen.value:g} is chosen", file=sys.stderr, flush=True)
        write_edited_model(base, [tuned], self._with(chosen.value), RunFolder(folder).model)
        records = [asdict(replace(point, chosen=point is chosen)) for point in points]
        write_text(RunFolder(folder).sweep_file, "".join(json.dumps(record) + "\n" for record in records))

    def _with(self, value: float) -> Edit:
        edit: Any = self.edit  # The base class is no dataclass to the type checker; every edit is one.
        return replace(edit, **{self.dial: value})

    def _values(self, weights: Path | None, tasks: Sequence[Task], inputs: Inputs | dict[str, Any]) -> dict[str, float]:
        """Return the metric of each task, from 0 to 1, of the weights in a stage's folder; behind the prompt among the inputs."""
        pretrained = resolve.load(self.model, weights, trust_remote_code=self.trust_remote_code, date=self.date)
        prompt = None
        if "prompt" in inputs:
            prompt = detached(load.load_prompt(inputs["prompt"].prompt(), pretrained)())
        model, values = Model(pretrained, prompt), {}
        for task in tasks:
            measure = metric(task.metric)
            outputs = evaluate(model, task, limit=self.limit, variant="tuned")
            values[task.name] = (
                measure.value(outputs) / measure.unit
            )  # From 0 to 1, so that tasks of other units can be averaged.
        return values


def _validation(task: Task) -> Task | None:
    """Return the task with its validation examples in the place of its test examples; None where it has none."""
    examples = task.splits.get("validation")
    return ask.held_out(task, examples) if examples else None

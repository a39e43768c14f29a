"""An evaluation stage: one model, with its prompt attached or removed, on many tasks at several shots."""

import json
import os
import shutil
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import ClassVar, Literal

from accelerate import PartialState

from holdfast.atomic_files import whole, write_text
from holdfast.evaluation.ask import ask, with_mass
from holdfast.evaluation.matrix import Variant
from holdfast.evaluation.progress import AskingProgress, task_items
from holdfast.inference.model import Model
from holdfast.models import resolve
from holdfast.models.loading import Pretrained
from holdfast.prefix.attached import Prompt, detached
from holdfast.prefix.model import PrefixModel
from holdfast.prompts import load
from holdfast.results import symptoms
from holdfast.results.scores import Output, Role, read_outputs, write_jsonl
from holdfast.stages.stage import Stage, inputs_of
from holdfast.stages.train import Train
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Task


@dataclass(frozen=True)
class Evaluate(Stage):
    """Ask one variant every task at every number of shots and keep each answer in `outputs.jsonl`.

    `base` is the untuned model; `tuned` the stage whose weights are measured; `trained_prompt` the stage whose `prompt/` is attached
    when `prompt` is "on". With `step`, `tuned` is measured as it was after that many steps; step 0 is the model that it started from.
    `base-again` is the base measured a second time, with other demonstrations (`demonstrations="sampled"`) and in other batches: how
    far that moves a number is its noise floor. `own-stage` is `tuned` right after the stage that trained on the targets, before later
    ones. `diagnostics` are tasks in disguise and probes. With `toward`, general tasks are also asked how probable an answer of that
    task is (of the base, which other targets share, `LabelMass` asks). `date` is as in `Train`.
    """

    KIND: ClassVar[str] = "Evaluate"

    model: str = ""
    variant: Variant = "base"
    prompt: Literal["on", "off"] | None = None
    tuned: Train | None = None
    trained_prompt: Train | None = None
    targets: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    diagnostics: tuple[str, ...] = ()
    shots: tuple[int, ...] = (0,)
    demonstrations: Literal["first", "sampled"] = "first"
    batch_tokens: int = 8192
    toward: str | None = None
    limit: int | None = None
    seed: int = 0
    step: int | None = None
    versions: tuple[str, ...] = ()
    trust_remote_code: bool = False
    date: str | None = None

    def run(self, folder: Path, inputs: dict[str, Path]) -> None:
        """Write `outputs.jsonl`; each task and number of shots stands in `parts/` until all are there, so a killed run goes on."""
        if not PartialState().is_main_process:
            return
        target = load_task(self.toward) if self.toward else None
        roles: dict[Role, tuple[str, ...]] = {
            "target": self.targets,
            "general": self.general,
            "diagnostic": self.diagnostics,
        }
        asked: list[tuple[Task, Role]] = [(load_task(name), role) for role, names in roles.items() for name in names]
        label = f"{self.variant}" + (f", prompt {self.prompt}" if self.prompt else "")
        label += f", step {self.step}" if self.step is not None else ""
        counts = [task_items(task, self.limit) for task, _ in asked]
        parts = folder / "parts"
        written: list[Path] = []
        model: Model | None = None
        with AskingProgress(label, [count for count in counts for _ in self.shots]) as progress:
            for task, role in asked:
                for shots in self.shots:
                    # By number: a task's name need not be that of a file, and this stage's configuration fixes the order.
                    path = parts / f"{len(written):04}.jsonl"
                    written.append(path)
                    if path.exists():
                        progress.skip()
                        continue
                    model = model or self.load(inputs)
                    progress.begin(f"{task.name}, {shots} shot{'' if shots == 1 else 's'}")
                    outputs = ask(
                        model,
                        task,
                        role=role,
                        shots=shots,
                        limit=self.limit,
                        seed=self.seed,
                        variant=self.variant,
                        prompt=self.prompt,
                        generate_choices=role == "general",
                        target=target if role == "general" else None,
                        demonstrations=self.demonstrations,
                        demonstration_seed=1,
                    )
                    write_jsonl(path, [replace(output, step=self.step) for output in outputs])
                    progress.done()
        with whole(folder / "outputs.jsonl") as whole_file, whole_file.open("wb") as file:
            for path in written:
                file.write(path.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(parts, ignore_errors=True)

    def load(self, inputs: dict[str, Path]) -> Model:
        """The model that this stage measures."""
        tuned = inputs.get("tuned")
        if self.step and tuned is not None:
            assert self.tuned is not None
            pretrained, model = self.tuned.at(self.step, tuned, inputs_of(self.tuned, tuned.parent))
            return Model(pretrained, self._attached(inputs, pretrained, model))
        pretrained = resolve.load(self.model, tuned, trust_remote_code=self.trust_remote_code, date=self.date)
        return Model(pretrained, self._attached(inputs, pretrained), self.batch_tokens)

    def _attached(
        self, inputs: dict[str, Path], pretrained: Pretrained, model: PrefixModel | None = None
    ) -> Prompt | None:
        """The prompt to attach: that of a finished stage, or the one that the model itself was training at this step."""
        if self.prompt != "on":
            return None
        if model is not None and self.trained_prompt == self.tuned:
            return model.attached(len(model.prompts) - 1)
        return detached(load.load_prompt(inputs["trained_prompt"] / "prompt", pretrained)())


@dataclass(frozen=True)
class LabelMass(Stage):
    """How probable an answer of the task `toward` was at each general item that `evaluated` asked.

    It is all of an evaluation of the base that depends on the target, and a small part of its time: apart, the rest is done once for
    every target. `version` is the fingerprint of `toward`.
    """

    KIND: ClassVar[str] = "LabelMass"

    evaluated: Evaluate | None = None
    toward: str = ""
    version: str = ""

    def run(self, folder: Path, inputs: dict[str, Path]) -> None:
        """Write `mass.json`: a number for each line of the evaluation's `outputs.jsonl`, null where the target has no labels of its own."""
        if not PartialState().is_main_process:
            return
        assert self.evaluated is not None
        target, place = load_task(self.toward), inputs["evaluated"]
        tasks = {task.name: task for task in map(load_task, self.evaluated.general)}
        asked = {name for name, task in tasks.items() if symptoms.foreign_labels(target, task)}
        model = self.evaluated.load(inputs_of(self.evaluated, place.parent)) if asked else None
        masses: list[float | None] = []
        for (name, _), group in groupby(read_outputs(place), key=lambda output: (output.task, output.shots)):
            outputs = list(group)
            marked = with_mass(model, tasks[name], target, outputs) if model and name in asked else outputs
            masses += [output.scores.get("first_token_mass") for output in marked]
        write_text(folder / "mass.json", json.dumps(masses))

    @staticmethod
    def read(folder: Path, outputs: list[Output]) -> list[Output]:
        """The evaluation's outputs, each with its mass in `folder`."""
        masses = json.loads((folder / "mass.json").read_text())
        return [
            output if mass is None else replace(output, scores={**output.scores, "first_token_mass": mass})
            for output, mass in zip(outputs, masses, strict=True)
        ]

"""An analysis stage: why a run gained and lost what it did, at one step of its training."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from holdfast import plugins
from holdfast.analysis.base import Analysis, Subject
from holdfast.atomic_files import write_text
from holdfast.evaluation import ask, matrix
from holdfast.inference.model import Model
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.prompts import load
from holdfast.results import symptoms
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import Output
from holdfast.stages.loader import Loader
from holdfast.stages.stage import Inputs, Stage
from holdfast.stages.train import Train
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Task
from holdfast.tasks.task_set import TaskRef
from holdfast.tasks.text.templates import choose_demonstrations, render
from holdfast.training.processes import processes


@dataclass(frozen=True)
class Analyse(Stage):
    """Run `analyses` on `tuned` as it was after `step` steps, beside the model that it started from.

    The gradients are of `rows` training rows; each general task is asked `limit` questions behind `shots` demonstrations.
    """

    KIND: ClassVar[str] = "Analyse"

    tuned: Train
    step: int = 0
    analyses: tuple[str, ...] = ()
    general: tuple[TaskRef, ...] = ()
    rows: int = 64
    limit: int = 32
    shots: int = 1
    versions: tuple[str, ...] = ()

    def run(self, folder: Path, inputs: Inputs) -> None:
        """Write `analysis.jsonl`: one record a finding, with its analysis and step."""
        if not processes().is_main_process:
            return
        tuned = inputs["tuned"]
        # By a loader of its own: the model at this step and the one before training are looked at side by side.
        pretrained, model = self.tuned.at(self.step, tuned.folder, tuned.inputs())
        subject = self.subject(self.tuned, self.tuned.read_tasks(tuned.inputs()), pretrained, model, inputs.loader)
        records = _records(self.analyses, subject, self.step)
        write_text(RunFolder(folder).analysis_file, "".join(json.dumps(record) + "\n" for record in records))

    def subject(
        self, tuned: Train, targets: Sequence[Task], pretrained: Pretrained, model: PrefixModel, loader: Loader
    ) -> Subject:
        """Return what the analyses look at; `targets` are the tasks that were trained on."""
        # From shuffled answers only the format can be learned: their gradient is that of the format.
        answering = [target for target in targets if not target.template.asks_nothing]
        shuffled = [replace(target, splits={**target.splits, "train": shuffle(target)}) for target in answering]
        tested = [replace(t, splits={**t.splits, "train": t.splits["test"]}) for t in targets if t.splits.get("test")]
        general = [ref.task for ref in self.general]
        return Subject(
            pretrained,
            model,
            loader.load(tuned.model, loading=tuned.loading, trust_remote_code=tuned.trust_remote_code, date=tuned.date),
            tuned.sample(targets, pretrained, model, self.rows),
            tuned.sample(shuffled, pretrained, model, self.rows) if shuffled else (),
            FormatQuestions(pretrained, model, targets[0], general, self.limit, self.shots),
            tuned.sample(tested, pretrained, model, self.rows) if tested else (),
        )


@dataclass(frozen=True)
class FormatQuestions:
    """Questions to a model on each general task, to see how near its answers are to the target's.

    By task, a number for each of `limit` questions behind `shots` demonstrations, with the last prompt attached or removed. A task is
    left out where the target has no answers of its own.
    """

    pretrained: Pretrained
    model: PrefixModel
    target: Task
    general: Sequence[Task]
    limit: int | None
    shots: int

    def mass(self, attached: bool) -> dict[str, list[float]]:
        """Return the probability that the answer begins as an answer of the target does, for each question of each task."""
        measured, masses = self._measured(attached), {}
        for task in self.general:
            if not (labels := symptoms.foreign_labels(self.target, task)):
                continue
            marked = ask.with_mass(measured, task, labels, _questions(task, self.pretrained, self.limit, self.shots))
            values = [output.scores["first_token_mass"] for output in marked if output.scores]
            if values:
                masses[task.name] = values
        return masses

    def share(self, attached: bool) -> dict[str, list[float]]:
        """Return 1 where the answer that is written is an answer of the target, else 0, for each question of each task."""
        measured, shares = self._measured(attached), {}
        for task in self.general:
            foreign = symptoms.foreign_answers(self.target, task)
            # Only our own evaluation can have choices written out instead of scored.
            if foreign and not ask.asked_by_harness(task):
                outputs = matrix.evaluate(
                    measured, task, matrix.Asking(shots=self.shots, limit=self.limit, generate_choices=True)
                )
                shares[task.name] = [float(symptoms.in_format(output, foreign)) for output in outputs]
        return shares

    def _measured(self, attached: bool) -> Model:
        prompt = self.model.attached(len(self.model.prompts) - 1) if attached else None
        return Model(replace(self.pretrained, model=self.model.model), prompt)


def _questions(task: Task, pretrained: Pretrained, limit: int | None, shots: int) -> list[Output]:
    """Return the items that an evaluation would ask, unanswered."""
    # The pool of an evaluation, so that the prompts are those whose answers the run reports.
    pool, examples = task.splits.get("train") or task.splits.get("validation") or (), task.splits.get("test", ())
    outputs = []
    for i in matrix.items(task, limit, 0) if examples else ():
        example = examples[i]
        shown = choose_demonstrations(task.template, pool, shots, mode="first", seed=0, index=i, exclude=example)
        text = render(task.template, example, shown, pretrained.tokenizer)
        outputs.append(
            Output(
                variant="tuned", prompt=None, task=task.name, role="general", shots=shots, index=i, input=text.prompt,
                target=example.target, output="", answers=example.answers or (), choices=example.choices,
            )
        )  # fmt: skip
    return outputs


def run_analyses(
    run: Path,
    model: Pretrained,
    base: Pretrained,
    target: str,
    general: Sequence[str],
    names: Sequence[str],
    *,
    limit: int | None,
    shots: int,
) -> list[Mapping[str, Any]]:
    """Return the findings of analyses in the weights that a finished run keeps. Their `step` is None.

    Raises:
        ValueError: an analysis is unknown, or needs what only training has.
    """
    check_known(names)
    prefix_model = PrefixModel(model.model)
    prompts = list(RunFolder(run).prompts.values())
    # Of several prompts none is that of the general tasks, so none is attached.
    if len(prompts) == 1:
        prefix_model.prompts.append(load.load_prompt(prompts[0], model))
    prefix_model.requires_grad_(False).eval()
    tasks = [load_task(name) for name in general]
    # No training rows: only a training stage makes them.
    subject = Subject(
        model, prefix_model, base, (), (), FormatQuestions(model, prefix_model, load_task(target), tasks, limit, shots)
    )
    return _records(names, subject, None)


def _records(names: Sequence[str], subject: Subject, step: int | None) -> list[Mapping[str, Any]]:
    """Run analyses and return their findings as records of `analysis.jsonl`."""
    records: list[Mapping[str, Any]] = []
    for name in names:
        records += [{"analysis": name, "step": step, **asdict(finding)} for finding in find(name)(subject)]
    return records


def shuffle(task: Task) -> tuple[Any, ...]:
    """Return the train split with its answers dealt out anew: every format kept, every meaning lost."""
    examples = task.splits.get("train", ())
    targets = [example.target for example in examples]
    # Seeded by the task alone: every step of every run compares with the same shuffle.
    random.Random(f"{task.name}: shuffled answers").shuffle(targets)
    return tuple(replace(example, target=target) for example, target in zip(examples, targets, strict=True))


def find(name: str) -> Analysis:
    """Return the analysis with that name.

    Raises:
        ValueError: there is none; the nearest name is given.
    """
    return plugins.find(name, plugins.ANALYSES)


def check_known(names: Sequence[str]) -> None:
    """Refuse, before anything is trained, an analysis that does not exist."""
    for name in names:
        find(name)

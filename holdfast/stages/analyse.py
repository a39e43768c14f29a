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
from holdfast.tasks.templates import choose_demonstrations, render
from holdfast.training.processes import processes


@dataclass(frozen=True)
class Analyse(Stage):
    """Run `analyses` on `tuned` as it was after `step` steps, beside the model that it started from.

    The gradients are of `rows` training rows; each general task is asked `limit` questions behind `shots` demonstrations.
    """

    KIND: ClassVar[str] = "Analyse"

    tuned: Train | None = None
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
        assert self.tuned is not None
        tuned = inputs["tuned"]
        pretrained, model = self.tuned.at(self.step, tuned.folder, tuned.inputs())
        subject = self.subject(self.tuned, self.tuned.read_tasks(tuned.inputs()), pretrained, model, inputs.loader)
        records = [
            {"analysis": name, "step": self.step, **asdict(finding)}
            for name in self.analyses
            for finding in find(name)(subject)
        ]
        write_text(RunFolder(folder).analysis_file, "".join(json.dumps(record) + "\n" for record in records))

    def subject(
        self, tuned: Train, targets: Sequence[Task], pretrained: Pretrained, model: PrefixModel, loader: Loader
    ) -> Subject:
        """Return what the analyses look at; `targets` are the tasks that were trained on."""
        shuffled = [replace(target, splits={**target.splits, "train": shuffle(target)}) for target in targets]
        general = [ref.task for ref in self.general]
        return Subject(
            pretrained,
            model,
            loader.load(tuned.model, trust_remote_code=tuned.trust_remote_code, date=tuned.date),
            tuned.sample(targets, pretrained, model, self.rows),
            tuned.sample(shuffled, pretrained, model, self.rows),
            Questions(pretrained, model, targets[0], general, self.limit, self.shots),
        )


@dataclass(frozen=True)
class Questions:
    """What a model is asked of each general task, to see how near its answers are to the target's: by task, a number for each of `limit`
    questions behind `shots` demonstrations, with the last prompt attached or removed. Left out where the target has no answers of its own.
    """

    pretrained: Pretrained
    model: PrefixModel
    target: Task
    general: Sequence[Task]
    limit: int | None
    shots: int

    def mass(self, attached: bool) -> dict[str, list[float]]:
        """How probable it is that the answer begins as one of the target's does."""
        measured, found = self._measured(attached), {}
        for task in self.general:
            marked = ask.with_mass(
                measured, task, self.target, _questions(task, self.pretrained, self.limit, self.shots)
            )
            values = [output.scores["first_token_mass"] for output in marked if output.scores]
            if values:
                found[task.name] = values
        return found

    def share(self, attached: bool) -> dict[str, list[float]]:
        """Whether the answer that is written is one of the target's (1) or not (0)."""
        measured, found = self._measured(attached), {}
        for task in self.general:
            foreign = symptoms.foreign_answers(self.target, task)
            if foreign and not ask.asked_by_harness(task):
                how = {"shots": self.shots, "limit": self.limit, "generate_choices": True}
                found[task.name] = [
                    float(symptoms.in_format(o, foreign)) for o in matrix.evaluate(measured, task, **how)
                ]
        return found

    def _measured(self, attached: bool) -> Model:
        prompt = self.model.attached(len(self.model.prompts) - 1) if attached else None
        return Model(replace(self.pretrained, model=self.model.model), prompt)


def _questions(task: Task, pretrained: Pretrained, limit: int | None, shots: int) -> list[Output]:
    """The items that an evaluation would ask, unanswered."""
    pool, asked = task.splits.get("train") or task.splits.get("validation") or (), task.splits.get("test", ())
    found = []
    for i in matrix.items(task, limit, 0) if asked else ():
        shown = choose_demonstrations(task.template, pool, shots, mode="first", seed=0, index=i, exclude=asked[i])
        text = render(task.template, asked[i], shown, pretrained.tokenizer)
        given = (text.prompt, asked[i].target, "", asked[i].answers or (), asked[i].choices)
        found.append(Output("tuned", None, task.name, "general", shots, i, *given))
    return found


def of_run(
    run: Path,
    model: Pretrained,
    base: Pretrained,
    target: str,
    general: Sequence[str],
    names: Sequence[str],
    **asked: Any,
) -> list[Mapping[str, Any]]:
    """What the analyses find in the weights that a finished run keeps; `asked` are `limit` and `shots`. Their `step` is None.

    Raises:
        ValueError: an analysis is unknown, or needs what only training has.
    """
    check_known(names)
    behind = PrefixModel(model.model)
    own = list(RunFolder(run).prompts.values())
    if len(own) == 1:
        behind.prompts.append(load.load_prompt(own[0], model))
    behind.requires_grad_(False).eval()
    tasks = [load_task(name) for name in general]
    subject = Subject(model, behind, base, (), (), Questions(model, behind, load_task(target), tasks, **asked))
    return [{"analysis": name, "step": None, **asdict(finding)} for name in names for finding in find(name)(subject)]


def shuffle(task: Task) -> tuple[Any, ...]:
    """The train split with its answers dealt out anew: every format kept, every meaning lost."""
    examples = task.splits.get("train", ())
    targets = [example.target for example in examples]
    random.Random(f"{task.name}: shuffled answers").shuffle(targets)
    return tuple(replace(example, target=target) for example, target in zip(examples, targets, strict=True))


def find(name: str) -> Analysis:
    """The analysis with that name.

    Raises:
        ValueError: there is none; the nearest name is given.
    """
    return plugins.find(name, plugins.ANALYSES)


def check_known(names: Sequence[str]) -> None:
    """Refuse, before anything is trained, an analysis that does not exist."""
    for name in names:
        find(name)


def read(folders: Sequence[Path]) -> list[Mapping[str, Any]]:
    """The records of finished analyses."""
    return [json.loads(line) for folder in folders for line in RunFolder(folder).analysis_file.read_text().splitlines()]

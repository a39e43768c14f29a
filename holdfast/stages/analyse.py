"""An analysis stage: why a run gained and lost what it did, at one step of its training."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState

from holdfast import discovery
from holdfast.analysis.base import Analysis, Subject, is_analysis
from holdfast.evaluation import matrix
from holdfast.evaluation.model import Model
from holdfast.models import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.report.folder import prompts
from holdfast.scores import Output
from holdfast.stages import asking
from holdfast.stages import pretrained as source
from holdfast.stages.base import Stage, inputs_of, write_text
from holdfast.stages.sources import load_task
from holdfast.stages.train import Train
from holdfast.tasks.task import Task
from holdfast.templates import choose_demonstrations, render

FILE = "analysis.jsonl"


@dataclass(frozen=True)
class Analyse(Stage):
    """Run `analyses` on `tuned` as it was after `step` steps, beside the model that it started from.

    The gradients are of `rows` training rows; each general task is asked `limit` questions behind `shots` demonstrations.
    """

    tuned: Train | None = None
    step: int = 0
    analyses: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    rows: int = 64
    limit: int = 32
    shots: int = 1
    versions: tuple[str, ...] = ()

    def run(self, folder: Path, inputs: dict[str, Path]) -> None:
        """Write `analysis.jsonl`: one record a finding, with its analysis and step."""
        if not PartialState().is_main_process:
            return
        assert self.tuned is not None
        pretrained, model = self.tuned.at(self.step, inputs["tuned"], inputs_of(self.tuned, inputs["tuned"].parent))
        subject = self.subject(self.tuned, pretrained, model)
        records = [
            {"analysis": name, "step": self.step, **asdict(finding)}
            for name in self.analyses
            for finding in find(name)(subject)
        ]
        write_text(folder / FILE, "".join(json.dumps(record) + "\n" for record in records))

    def subject(self, tuned: Train, pretrained: Pretrained, model: PrefixModel) -> Subject:
        """What the analyses look at."""
        targets = [load_task(name) for name in tuned.tasks]
        shuffled = [replace(target, splits={**target.splits, "train": shuffle(target)}) for target in targets]
        general = [load_task(name) for name in self.general]
        return Subject(
            pretrained,
            model,
            source.load(tuned.model, trust_remote_code=tuned.trust_remote_code),
            tuned.sample(targets, pretrained, model, self.rows),
            tuned.sample(shuffled, pretrained, model, self.rows),
            partial(masses, pretrained, model, targets[0], general, self.limit, self.shots),
        )


def masses(
    pretrained: Pretrained,
    model: PrefixModel,
    target: Task,
    general: Sequence[Task],
    limit: int | None,
    shots: int,
    attached: bool,
) -> dict[str, list[float]]:
    """By general task, for each of `limit` questions: how probable it is that the answer begins as one of the target's does."""
    prompt = model.attached(len(model.prompts) - 1) if attached else None
    measured, found = Model(replace(pretrained, model=model.model), prompt), {}
    for task in general:
        marked = asking.with_mass(measured, task, target, _questions(task, pretrained, limit, shots))
        values = [output.scores["first_token_mass"] for output in marked if output.scores]
        if values:
            found[task.name] = values
    return found


def _questions(task: Task, pretrained: Pretrained, limit: int | None, shots: int) -> list[Output]:
    """The items that an evaluation would ask, unanswered."""
    pool, asked = task.splits.get("train") or task.splits.get("validation") or (), task.splits.get("test", ())
    found = []
    for i in matrix.items(task, limit, 0) if asked else ():
        shown = choose_demonstrations(pool, shots, mode="first", seed=0, index=i, exclude=asked[i])
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
    own = list(prompts(run).values())
    if len(own) == 1:
        behind.prompts.append(source.load_prompt(own[0], model))
    behind.requires_grad_(False).eval()
    tasks = [load_task(name) for name in general]
    mass = partial(masses, model, behind, load_task(target), tasks, asked["limit"], asked["shots"])
    subject = Subject(model, behind, base, (), (), mass)
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
    known = discovery.members("holdfast.analysis", is_analysis)
    if name not in known:
        raise discovery.unknown("analysis", name, list(known))
    return known[name]


def check_known(names: Sequence[str]) -> None:
    """Refuse, before anything is trained, an analysis that does not exist."""
    for name in names:
        find(name)


def read(folders: Sequence[Path]) -> list[Mapping[str, Any]]:
    """The records of finished analyses."""
    return [json.loads(line) for folder in folders for line in (folder / FILE).read_text().splitlines()]

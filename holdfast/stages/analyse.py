"""An analysis stage: why a run gained and lost what it did, at one step of its training."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from holdfast import discovery
from holdfast.analysis.base import Analysis, Subject, is_analysis
from holdfast.models import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.rows import Row
from holdfast.stages import pretrained as source
from holdfast.stages.base import Stage, inputs_of, write_text
from holdfast.stages.sources import load_task
from holdfast.stages.train import Train
from holdfast.tasks.task import Task
from holdfast.templates import choose_demonstrations, render
from holdfast.tokenization import encode

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
        starts = {row.tokens[row.labels[0]] for row in tuned.sample(targets, pretrained, model, 512)}
        general = [load_task(name) for name in self.general]
        asked = {task.name: self._questions(task, pretrained) for task in general}
        return Subject(
            pretrained,
            model,
            source.load(tuned.model, trust_remote_code=tuned.trust_remote_code),
            tuned.sample(targets, pretrained, model, self.rows),
            tuned.sample(shuffled, pretrained, model, self.rows),
            [(name, row) for name, found in asked.items() for row in found],
            {name: frozenset(starts - {row.tokens[-1] for row in found}) for name, found in asked.items()},
        )

    def _questions(self, task: Task, pretrained: Pretrained) -> list[Row]:
        pool = task.splits.get("train") or task.splits.get("validation") or ()
        found = []
        for i, example in enumerate(task.splits.get("test", ())[: self.limit]):
            shown = choose_demonstrations(pool, self.shots, mode="first", seed=0, index=i, exclude=example)
            text = render(task.template, example, shown, pretrained.tokenizer)
            row = encode(
                pretrained.tokenizer, text, max_length=pretrained.max_length, eos=False, name=f"{task.name}[{i}]"
            )
            first = row.labels[0]
            found.append(Row(row.tokens[: first + 1], (*[0.0] * first, 1.0), None, row.name, row.cut))
        return found


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

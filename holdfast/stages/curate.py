"""A curation stage: before training, the training examples of a task are mixed, selected, rewritten or generated."""

import json
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from holdfast.atomic_files import write_text
from holdfast.curation.base import Curation, CurationContext
from holdfast.inference.model import Model
from holdfast.models.precision import FP32, Loading
from holdfast.plugins import name_of
from holdfast.results.run_folder import RunFolder
from holdfast.stages.stage import Finished, Inputs, Stage, content_of
from holdfast.tasks.formats.write import read_rows, write_task
from holdfast.tasks.task import Task
from holdfast.tasks.task_set import TaskRef
from holdfast.training.processes import processes


@dataclass(frozen=True)
class Curate(Stage):
    """Curate the training examples of `task`, and write the task with them into `data/`, for later stages to train on.

    The model, which some techniques generate with, is the one before training, or that which the stage `start` left. `general` are the
    tasks that should be kept, `others` those in the technique's own fields.
    """

    KIND: ClassVar[str] = "Curate"
    HASH_LATER: ClassVar[dict[str, object]] = {"others": (), "loading": FP32, "start": None}

    task: TaskRef
    technique: Curation
    model: str = ""
    general: tuple[TaskRef, ...] = ()
    seed: int = 0
    model_version: str = ""
    trust_remote_code: bool = False
    date: str | None = None
    others: tuple[TaskRef, ...] = ()
    loading: Loading = FP32
    start: Stage | None = None

    @property
    def file_label(self) -> str:
        """Return the task's argument as part of a stage's name."""
        return self.task.file_label

    def hashed(self) -> dict[str, Any]:
        """Return the fields; tasks and model by their fingerprints too."""
        # The argument of a task may be a path; what lies there decides whether the folder still holds.
        return content_of(self) | {"versions": [ref.version for ref in (self.task, *self.general, *self.others)]}

    def run(self, folder: Path, inputs: Inputs) -> None:
        """Write `data/`, and `result.json` with the number of rows of each origin."""
        if not processes().is_main_process:
            return
        task, model = self.task.task, None
        # A model takes minutes and memory, and a technique that selects or mixes has no use for it.
        if self.technique.needs_model:
            start = inputs["start"].folder if "start" in inputs else None
            loaded = inputs.loader.load(
                self.model, start, loading=self.loading, trust_remote_code=self.trust_remote_code, date=self.date
            )
            model = Model(loaded)
        general, others = (tuple(ref.task for ref in refs) for refs in (self.general, self.others))
        context = CurationContext(task, self.seed, model, general, others)
        examples = task.splits.get("train", ())
        # A row that was taken over is the same object; whatever a technique made says itself where it comes from.
        taken = {id(example): f"as it was: {task.name}/train[{number}]" for number, example in enumerate(examples)}
        rows = [
            row if row.origin else replace(row, origin=taken.get(id(row), "made by the curation"))
            for row in self.technique(examples, context)
        ]
        if not rows:
            raise ValueError(f"{self.name}: no training example of {task.name} is left after curation; ask for less")
        write_task(replace(task, splits={**task.splits, "train": tuple(rows)}), RunFolder(folder).data)
        # Sorted, so that the same rows give the same file.
        counts = dict(sorted(Counter(row.origin.partition(":")[0] for row in rows).items()))
        shares = ", ".join(f"{count} {origin}" for origin, count in counts.items())
        print(
            f"curated: {task.name}: {len(examples)} training examples -> {len(rows)}: {shares}",
            file=sys.stderr,
            flush=True,
        )
        write_text(
            folder / "result.json", json.dumps({"rows": len(rows), "given": len(examples), "origins": counts}, indent=1)
        )

    def check_examples(self) -> None:
        """Refuse a technique that rests on questions where the task has none.

        Raises:
            ValueError: as above.
        """
        if self.technique.asks_questions and self.task.task.template.asks_nothing:
            raise ValueError(
                f"{name_of(self.technique)}: rests on the task's questions, and {self.task.task.name} has documents, which ask none; "
                "leave it out"
            )

    def read(self, finished: Finished) -> Task:
        """Return the task with the curated training examples, and its own other splits."""
        # Only the training rows come from the file: the task is measured on its original test split.
        return replace(self.task.task, splits={**self.task.task.splits, "train": read_rows(finished.task(), "train")})

"""Measure the weights that stages left on validation examples: what a value of a dial is chosen by."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from holdfast.decoding.base import Decoding
from holdfast.evaluation import ask
from holdfast.evaluation.matrix import Asking, evaluate
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.model import Model
from holdfast.models.loading import Pretrained
from holdfast.models.precision import FP32, Loading
from holdfast.prefix.attached import Prompt, detached
from holdfast.prompts import load
from holdfast.results.metrics import metric
from holdfast.stages.edit import EditModel
from holdfast.stages.loader import Loader
from holdfast.stages.measure import final_weights, last_trained, prompt_owners
from holdfast.stages.stage import Stage, execute, folder_of
from holdfast.tasks.task_set import TaskRef

TaskValues = dict[str, float]
"""Metric of each task by its name, from 0 to 1."""


@dataclass(frozen=True)
class Validation:
    """Ask at most `limit` validation examples of each task, without demonstrations: the targets behind the prompts that were trained
    for them, and the general tasks without any."""

    model: str
    tasks: tuple[TaskRef, ...]
    limit: int = 100
    trust_remote_code: bool = False
    date: str | None = None
    loading: Loading = FP32
    loader: Loader = field(default_factory=Loader)

    def check(self, label: str) -> None:
        """Refuse, before anything is trained, tasks that give nothing to choose by; `label` begins the message.

        Raises:
            ValueError: no target, or no general task, has validation examples.
        """
        for role in ("target", "general"):
            if not any(ref.task.splits.get("validation") for ref in self.tasks if ref.role == role):
                raise ValueError(
                    f"{label}: no {role} task has validation examples to choose by; add validation.jsonl (or, with --general, a "
                    "task that has some), or give the field a value"
                )

    def base(self) -> TaskValues:
        """Return what the untuned model reaches on the general tasks."""
        return self._general(None, None)

    def execute(self, stages: Sequence[Stage], root: Path) -> list[Stage]:
        """Run the stages of a pipeline, as far as that was not done, and return them as they were run."""
        # Edits under another name: a run with this very value, beside this one in a study, keeps its own.
        stages = [replace(stage, name="trial") if isinstance(stage, EditModel) else stage for stage in stages]
        for stage in stages:
            execute(stage, root, self.loader)
        return stages

    def tuned(self, stages: Sequence[Stage], root: Path) -> TaskValues:
        """Return what the last training stage reached on the targets, before any edit and without a decoding."""
        return self._targets(stages, folder_of(last_trained(stages), root), root, None)

    def values(self, stages: Sequence[Stage], decoding: Decoding | None, root: Path) -> tuple[TaskValues, TaskValues]:
        """Return what the weights of executed stages reach on the targets and on the general tasks."""
        folder = folder_of(final_weights(stages), root)
        return self._targets(stages, folder, root, decoding), self._general(folder, decoding)

    def clear(self, stages: Sequence[Stage], root: Path) -> None:
        """Remove the edited weights: there may be dozens, and an edit takes less time than its measurement."""
        for stage in stages:
            if isinstance(stage, EditModel):
                shutil.rmtree(folder_of(stage, root))

    def _targets(self, stages: Sequence[Stage], folder: Path, root: Path, decoding: Decoding | None) -> TaskValues:
        owners = prompt_owners(stages)
        targets = [ref for ref in self.tasks if ref.role == "target"]
        values: TaskValues = {}
        pretrained = self._load(folder)
        for stage, owned in owners:
            prompt = detached(load.load_prompt(folder_of(stage, root) / "prompt", pretrained)())
            values |= self._ask(pretrained, prompt, decoding, [ref for ref in targets if ref in owned])
        return values if owners else self._ask(pretrained, None, decoding, targets)

    def _general(self, folder: Path | None, decoding: Decoding | None) -> TaskValues:
        general = [ref for ref in self.tasks if ref.role == "general"]
        return self._ask(self._load(folder), None, decoding, general)

    def _load(self, folder: Path | None) -> Pretrained:
        return self.loader.load(
            self.model, folder, loading=self.loading, trust_remote_code=self.trust_remote_code, date=self.date
        )

    def _ask(
        self, pretrained: Pretrained, prompt: Prompt | None, decoding: Decoding | None, refs: Sequence[TaskRef]
    ) -> TaskValues:
        plain = Model(pretrained, prompt)
        model: LanguageModel = plain if decoding is None else decoding.wrap(plain)
        values: TaskValues = {}
        for ref in refs:
            if (task := ask.held_out(ref.task)) is not None:
                measure = metric(task.metric)
                # From 0 to 1, so that tasks of other units can be averaged.
                values[task.name] = (
                    measure.value(evaluate(model, task, Asking(limit=self.limit, variant="tuned"))) / measure.unit
                )
        return values

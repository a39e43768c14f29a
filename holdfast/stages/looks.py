"""Measure the model of a training stage on examples that it does not train on: what its weights are chosen by while they move."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from holdfast.evaluation import ask
from holdfast.evaluation.matrix import Asking, evaluate
from holdfast.inference.model import Model
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.results import units
from holdfast.results.metric_facts import TARGET_MEAN
from holdfast.results.metrics import metric
from holdfast.tasks.task import Task
from holdfast.training.look import Measure, Unit
from holdfast.training.processes import processes


@dataclass(frozen=True)
class Looks:
    """Ask held-out examples of the model in training: of the targets behind their prompts, of general tasks without any.

    `stage` is its name in messages, `limit` the number of examples of each target, and of all general tasks together. `prompt_of` tells
    the number of the prompt before a target's rows, by the target's own; the targets are shown `shots` demonstrations, chosen by
    `demonstrations`, as the rows of training are.
    """

    stage: str
    pretrained: Pretrained
    prompt_of: Callable[[int, PrefixModel], int | None]
    limit: int
    shots: int
    demonstrations: str
    seed: int

    def score(self, targets: Sequence[Task]) -> Measure | None:
        """Return what measures the targets' metric on validation examples; None where there are none, or none are wanted.

        Of several targets it is the mean of their metrics, each on a scale from 0 to 1.
        """
        asked_of = [(number, held_out) for number, task in enumerate(targets) if (held_out := ask.held_out(task))]
        if not asked_of or self.limit == 0:
            return None

        def score(model: PrefixModel) -> float:
            values = []
            for number, task in asked_of:
                prompt, measure = self.prompt_of(number, model), metric(task.metric)
                attached = None if prompt is None else model.attached(prompt)
                outputs = evaluate(
                    Model(replace(self.pretrained, model=model.model), attached),
                    task,
                    Asking(
                        role="target",
                        variant="tuned",
                        shots=self.shots,
                        limit=self.limit,
                        seed=self.seed,
                        demonstrations=self.demonstrations,
                    ),
                )
                # BLEU from 0 to 100 and accuracies have no common mean; alone, a metric keeps the unit of `stop_at`.
                values.append(measure.value(outputs) / (measure.unit if len(asked_of) > 1 else 1.0))
            return fmean(values)

        return score

    @staticmethod
    def unit(targets: Sequence[Task]) -> Unit:
        """Return the unit of what `score` returns for these targets."""
        names = [task.metric for task in targets if ask.held_out(task)]
        name = names[0] if len(names) == 1 else TARGET_MEAN
        return Unit(name, units.factor(name) or 1.0)

    def retention(self, general: Sequence[Task], untrained: PrefixModel) -> Measure:
        """Return what measures the share of the untrained model's mean on general tasks that is kept; say what a look costs.

        The validation examples are asked, or training examples of a task without any.

        Raises:
            ValueError: there are no such examples, or the untrained model scores nothing on them.
        """
        asked_of = [held_out for task in general if (held_out := ask.held_out(task, ("validation", "train")))]
        limit = max(1, self.limit // max(1, len(asked_of)))

        def mean(model: PrefixModel) -> float:
            values = []
            for task in asked_of:
                measure, plain = metric(task.metric), Model(replace(self.pretrained, model=model.model))
                outputs = evaluate(plain, task, Asking(role="general", variant="tuned", limit=limit, seed=self.seed))
                values.append(measure.value(outputs) / measure.unit)
            return fmean(values)

        if not asked_of:
            raise ValueError(
                f"{self.stage}.keep_floor: {', '.join(task.name for task in general)}: no general task has validation or training examples "
                "to look at; add validation.jsonl, or name other tasks with --general"
            )
        began = time.monotonic()
        if (reference := mean(untrained)) <= 0:
            raise ValueError(
                f"{self.stage}.keep_floor: the untrained model scores nothing on the general tasks' validation examples, so nothing can be "
                "kept; name other tasks with --general"
            )
        count = sum(min(limit, len(task.splits["test"])) for task in asked_of)
        if processes().is_main_process:
            cost = f"each look also asks {count} general items, about {time.monotonic() - began:.0f} s"
            print(f"{self.stage}: keep_floor: {cost}", file=sys.stderr, flush=True)
        return lambda model: mean(model) / reference

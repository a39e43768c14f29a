"""Who asks a task: our own evaluation, or the lm-evaluation-harness its own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from holdfast.evaluation import format as form
from holdfast.evaluation import matrix
from holdfast.evaluation.harness_examples import PREFIX
from holdfast.evaluation.model import LanguageModel, Model
from holdfast.scores import Output
from holdfast.tasks.task import Task


def ask(model: LanguageModel, task: Task, *, target: Task | None = None, **how: Any) -> list[Output]:
    """The task's items with the model's answers; `how` as in `matrix.evaluate` (shots, role, limit, seed, variant, prompt ...).

    With `target`, the task that is tuned, each item also says how probable an answer of that task was (`format.with_mass`).
    """
    if asked_by_harness(task):
        from holdfast.evaluation import harness

        outputs = harness.evaluate(model, task, **how)
    else:
        outputs = matrix.evaluate(model, task, **how)
    return outputs if target is None or not isinstance(model, Model) else with_mass(model, task, target, outputs)


def with_mass(model: Model, task: Task, target: Task, outputs: Sequence[Output]) -> list[Output]:
    """The outputs of a task with the probability that each answer begins as one of the `target`'s does (`format.with_mass`)."""
    chats = task.template.chat and getattr(model.pretrained.tokenizer, "chat_template", None)
    labels = form.foreign_labels(target, task)
    return form.with_mass(model, outputs, labels, "" if chats else task.template.delimiter)


def asked_by_harness(task: Task) -> bool:
    """Whether the harness asks and marks the task."""
    return task.source.startswith(PREFIX)


def held_out(task: Task, examples: Sequence[Any]) -> Task:
    """The task with other items to ask, by our own evaluation: it chooses among checkpoints.

    A mark that only the harness can give is replaced by accuracy among choices, or by F1 of words.
    """
    metric = task.metric
    if asked_by_harness(task):
        metric = "accuracy" if all(example.choices for example in examples) else "f1"
    return replace(task, splits={**task.splits, "test": tuple(examples)}, metric=metric)


def check_askable(tasks: Sequence[Task], shots: int, trained: Sequence[Task] = ()) -> None:
    """Refuse, before anything is trained, tasks that could not be measured afterwards. The harness finds its own demonstrations.

    Raises:
        ValueError: a task has no test split, or fewer than `shots` examples to show; one of `trained` has nothing to train on.
    """
    for target in trained:
        if not target.splits.get("train"):
            raise ValueError(
                f"{target.name}: no train split to train on; add train.jsonl, or choose a task with training examples of question "
                "and answer"
            )
    for task in tasks:
        if asked_by_harness(task):
            continue
        shown = len(task.splits.get("train") or task.splits.get("validation") or ())
        if not task.splits.get("test"):
            raise ValueError(f"{task.name}: no test split to measure on; add test.jsonl")
        if shown < shots:
            raise ValueError(
                f"{task.name}: {shots} demonstrations are asked for, and its train split has {shown}; add train.jsonl or ask "
                "for fewer shots"
            )

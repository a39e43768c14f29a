"""Dispatch of a task to our own evaluation or to the lm-evaluation-harness, and checks before anything is asked."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from holdfast.evaluation import label_mass, matrix
from holdfast.evaluation.progress import task_items
from holdfast.inference.language_model import LanguageModel
from holdfast.models import reading
from holdfast.results import symptoms
from holdfast.results.sandbox import check_allowed
from holdfast.results.scores import Output
from holdfast.tasks.examples.nearest import NEAREST, check_mode
from holdfast.tasks.task import HARNESS, Task


def in_parts(
    model: LanguageModel, task: Task, asking: matrix.Asking, *, target: Task | None = None
) -> list[Callable[[], list[Output]]]:
    """Return a function for each part of a task that asks it: in any order, and by any process, the answers are the same.

    The harness asks a task of its own in one part. With `target`, the task that is tuned, each item also says how probable an
    answer of that task was (`label_mass.with_mass`).
    """
    if asked_by_harness(task):
        from holdfast.evaluation import harness  # Not at the top: the harness is an extra that need not be installed.

        parts = [partial(harness.evaluate, model, task, asking)]
    else:
        questions = matrix.Questions(model, task, asking)
        parts = [partial(questions.ask, part) for part in questions.parts]
    if target is None:
        return parts
    # Once and not for each part: it goes through every example of both tasks.
    labels = symptoms.foreign_labels(target, task)
    return [partial(_with_mass_of, part, model, task, labels) for part in parts]


def shots_of(task: Task, shots: Sequence[int]) -> Sequence[int]:
    """Return the numbers of demonstrations that a task is asked at, of those wanted: a document is asked once, and behind nothing."""
    return (0,) if task.template.asks_nothing else shots


def part_count(task: Task, limit: int | None) -> int:
    """Return the number of parts that `in_parts` has; no model is needed to know it."""
    return 1 if asked_by_harness(task) else max(1, math.ceil(task_items(task, limit) / matrix.PART))


def _with_mass_of(
    part: Callable[[], list[Output]], model: LanguageModel, task: Task, labels: Sequence[str]
) -> list[Output]:
    return with_mass(model, task, labels, part())


def with_mass(model: LanguageModel, task: Task, labels: Sequence[str], outputs: Sequence[Output]) -> list[Output]:
    """Return the outputs of a task with the probability that each answer begins as one of the `labels` (`label_mass.with_mass`), which
    are those of the tuned task (`symptoms.foreign_labels`).
    """
    # A chat template ends the question itself, so there the answer begins without the template's delimiter.
    chats = task.template.chat and getattr(model.tokenizer, "chat_template", None)
    return label_mass.with_mass(model, outputs, labels, "" if chats else task.template.delimiter)


def asked_by_harness(task: Task) -> bool:
    """Return whether the harness asks and marks the task."""
    return task.source.startswith(HARNESS)


def held_out(task: Task, splits: Sequence[str] = ("validation",)) -> Task | None:
    """Return the task with the examples of the first of these splits that has any to ask in the place of its test examples, by our own
    evaluation: it chooses among weights. None where there are none.

    A mark that only the harness can give is replaced by accuracy among choices, or by F1 of words.
    """
    examples = next((task.splits[split] for split in splits if task.splits.get(split)), ())
    if not examples:
        return None
    metric = task.metric
    # The harness asks its own documents and no others, so it cannot mark examples that were held out of the training split.
    if asked_by_harness(task):
        metric = "accuracy" if all(example.choices for example in examples) else "f1"
    return replace(task, splits={**task.splits, "test": examples}, metric=metric)


def unread(tokenizer: Any, task: Task, source: str) -> str | None:
    """Return a warning where the tokenizer reads more than a twentieth of a task as its unknown token, so that answers may look alike
    to the model; None where it does not.
    """
    missing = None if asked_by_harness(task) else reading.unread(tokenizer, task)
    if missing is None:
        return None
    return (
        f"{task.name}: {source} has no token for {100 * missing.share:.0f} % of this task ({', '.join(map(repr, missing.words))}, ...) and "
        "cannot tell these apart, so scores and answers mean little; take another model (of the lab's, only lab:NAME tasks)"
    )


def check_askable(
    tasks: Sequence[Task], shots: int, trained: Sequence[Task] = (), demonstrations: str = "first"
) -> None:
    """Refuse, before anything is trained, tasks that could not be measured afterwards. The harness finds its own demonstrations.

    Raises:
        ValueError: two tasks have one name; a task has no test split, or fewer than `shots` examples to show; one of
            `trained` has nothing to train on; there is no such mode of `demonstrations`, or the harness would choose others.
    """
    check_mode(demonstrations)
    if any(task.metric == "pass@1" for task in tasks):
        check_allowed()
    if double := [name for name, count in Counter(task.name for task in tasks).items() if count > 1]:
        raise ValueError(
            f"{double[0]}: two of the tasks have this name, and their items would be counted together; leave one out, or give it "
            "another `name` in its task.yaml"
        )
    for target in trained:
        if not target.splits.get("train"):
            raise ValueError(
                f"{target.name}: no train split to train on; add train.jsonl, or choose a task with training examples of question "
                "and answer"
            )
    for task in tasks:
        if asked_by_harness(task):
            if demonstrations.startswith(NEAREST):
                raise ValueError(
                    f"{task.name}: the harness chooses its own demonstrations; leave out --demonstrations nearest"
                )
            continue
        # Demonstrations come from the train split, else validation, as in `matrix.evaluate`.
        shown = len(task.splits.get("train") or task.splits.get("validation") or ())
        if not task.splits.get("test"):
            raise ValueError(f"{task.name}: no test split to measure on; add test.jsonl")
        if shown < max(shots_of(task, (shots,))):
            raise ValueError(
                f"{task.name}: {shots} demonstrations are asked for, and its train split has {shown}; add train.jsonl or ask "
                "for fewer shots"
            )

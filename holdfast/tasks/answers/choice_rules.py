"""Rules by which one of a task's choices is picked: by its text or by its letter, as it is or calibrated.

A letter stands for a choice that is listed in the question. Calibration subtracts what the model says of the choices where the question
has no content (Zhao et al. 2021, "Calibrate before use"; Holtzman et al. 2021, "Surface form competition").
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from string import ascii_uppercase as LETTERS

from holdfast.tasks.examples.splits import version
from holdfast.tasks.formats.stored import mapped
from holdfast.tasks.task import HARNESS, Example, Task, Template

ASKED_OTHERWISE = ("accuracy_calibrated", "accuracy_letter", "accuracy_letter_calibrated")
"""Rules by which a task is asked more, or otherwise, than by plain accuracy."""
LETTERED = ASKED_OTHERWISE[1:]
CALIBRATED = (ASKED_OTHERWISE[0], ASKED_OTHERWISE[2])
RULES = ("accuracy", "accuracy_norm", *ASKED_OTHERWISE)
"""Metrics that pick among choices."""
CONTENT_FREE = ("N/A", "[MASK]", "")
"""Texts in the place of a question's content, as in the paper: the probabilities behind them are averaged."""
LISTED = "listed_choices"
_LIST = f"{{% for choice in {LISTED} %}}{{{{ '{LETTERS}'[loop.index0] }}}}. {{{{ choice }}}}\n{{% endfor %}}"


def marked_by(task: Task, metric: str) -> Task:
    """Return the task with its choices picked by `metric`, one of `RULES`; asked by letters where that says so.

    Raises:
        ValueError: it is no such metric; an example has no choices, or more than there are letters; or the task cannot be asked so.
    """
    if metric not in RULES:
        raise ValueError(f"metric {metric!r} picks no choices; write {', '.join(RULES)}")
    if task.source.startswith(HARNESS):
        raise ValueError(f"{task.name}: the harness ranks choices by its own rule; leave the metric out")
    for split, examples in task.splits.items():
        # Demonstrations and what is trained show the letters too; of texts, only what is measured must have choices.
        for index, example in enumerate(examples if metric in LETTERED or split == "test" else ()):
            if not example.choices:
                raise ValueError(
                    f"{task.name}/{split}[{index}] has no choices, among which {metric} picks; give every example `choices`, or use "
                    "another metric"
                )
    if metric in LETTERED and not _is_lettered(task):
        task = _lettered(task)
    elif metric not in LETTERED and _is_lettered(task):
        raise ValueError(f"{task.name}: its task.yaml asks for letters already; use {' or '.join(LETTERED)}")
    # What was asked for another rule has no answers to the questions without content: it must not pass for this one's.
    marked = f"{task.version}:calibrated".encode()
    digest = hashlib.sha256(marked).hexdigest()[:12] if metric in CALIBRATED else task.version
    return replace(task, metric=metric, version=digest)


def with_rule(tasks: Sequence[Task], metric: str) -> list[Task]:
    """Return the tasks, those whose items have choices marked by `metric`; a suite may hold others, which stay as they are.

    Raises:
        ValueError: none has choices, or as `marked_by`.
    """
    closed = [all(example.choices for example in task.splits.get("test", ())) for task in tasks]
    if not any(closed):
        names = ", ".join(task.name for task in tasks[:4])
        raise ValueError(f"{names}: no task here has choices, among which {metric} picks; leave the metric out")
    return [marked_by(task, metric) if has else task for task, has in zip(tasks, closed, strict=True)]


def without_content(example: Example, word: str, kept: frozenset[str] = frozenset()) -> Example:
    """Return the example with `word` in the place of every text and number in its fields, but for those that are `kept`.

    Of a conversation the user's messages are content; the system's and the assistant's are not.
    """
    fields = {name: value if name in kept else _emptied(value, word) for name, value in example.fields.items()}
    messages = example.fields.get("messages")
    if isinstance(messages, list | tuple):
        fields["messages"] = tuple({**turn, "content": word} if turn["role"] == "user" else turn for turn in messages)
        fields |= {name: example.fields[name] for name in ("tools",) if name in example.fields}
    return replace(example, fields=fields)


def wording(examples: Sequence[Example]) -> frozenset[str]:
    """Return the names of the fields that are the same in all of several examples: part of how a task is asked, and no content."""
    if len(examples) < 2:
        return frozenset()
    same = dict(examples[0].fields)
    for example in examples:
        same = {name: value for name, value in same.items() if name in example.fields and example.fields[name] == value}
        if not same:
            break
    return frozenset(same)


def _emptied(value: object, word: str) -> object:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {key: _emptied(part, word) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_emptied(part, word) for part in value]
    return word


def _is_lettered(task: Task) -> bool:
    return any(LISTED in example.fields for example in chain.from_iterable(task.splits.values()))


def _lettered(task: Task) -> Task:
    for split, examples in task.splits.items():
        for index, example in enumerate(examples):
            _check(f"{task.name}/{split}[{index}]", example)
    splits = {split: mapped(_example, examples) for split, examples in task.splits.items()}
    template = replace(task.template, input=_listing(task.template))
    return replace(task, template=template, splits=splits, version=version(template, splits))


def _listing(template: Template) -> str:
    """Return the template's input with the choices before its last line where that only asks (`Answer:`), else behind it."""
    before, newline, last = template.input.rpartition("\n")
    if newline and last.rstrip().endswith(":") and "{" not in last:
        return f"{before}\n{_LIST}{last}"
    return f"{template.input}\n{_LIST}Answer:"


def _check(name: str, example: Example) -> None:
    if "messages" in example.fields or example.template is not None:
        raise ValueError(f"{name}: a conversation has no place for lettered choices; write them into its question")
    count = len(example.choices or ())
    if count > len(LETTERS):
        raise ValueError(f"{name} has {count} choices, and there are {len(LETTERS)} letters; rank them by text")
    if LISTED in example.fields:
        raise ValueError(f"{name}: its column `{LISTED}` has the name of the list of choices; rename it")


def _example(example: Example) -> Example:
    choices = example.choices or ()
    letters = dict(zip(reversed(choices), reversed(LETTERS[: len(choices)]), strict=True))  # The first of equals.
    answers = tuple(letters[answer] for answer in example.answers or () if answer in letters) or None
    return replace(
        example, fields={**example.fields, LISTED: choices}, target=letters[example.target],
        choices=tuple(LETTERS[: len(choices)]), answers=answers, checks=None,
        rejected=None if example.rejected is None else letters.get(example.rejected),
    )  # fmt: skip

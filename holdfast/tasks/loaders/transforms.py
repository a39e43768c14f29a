"""Reversible disguises of a task: the same questions and answers, spelled far from any tuning data, so that an ability that is only
hidden shows itself (conjugate prompting: Kotha, Springer and Raghunathan, arXiv 2309.10105).

A task in disguise is marked by its disguised answers; each disguise has an inverse on what it makes of lower-case words, so that this is
the same as marking the answer turned back.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from holdfast.tasks.examples.splits import version
from holdfast.tasks.formats.stored import mapped
from holdfast.tasks.jinja import fill
from holdfast.tasks.task import Example, Task

LEET = str.maketrans("aeiost", "431057")
PLAIN = str.maketrans("431057", "aeiost")
WORD = re.compile(r"[A-Za-z]+")
ONSET = re.compile(r"([^aeiouAEIOU]*)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Transform:
    """A spelling: `apply` disguises a text, `undo` turns back what `apply` made of lower-case words without digits."""

    name: str
    summary: str
    apply: Callable[[str], str]
    undo: Callable[[str], str]


def leetspeak(text: str) -> str:
    """Write digits for letters: `what time is it` -> `wh47 71m3 15 17`; capital letters stay as they are."""
    return text.translate(LEET)


def unleetspeak(text: str) -> str:
    """Write letters for digits: `wh47 71m3 15 17` -> `what time is it`."""
    return text.translate(PLAIN)


def pig_latin(text: str) -> str:
    """Move the beginning of words behind their end: `what time is it` -> `at-whay ime-tay is-ay it-ay`."""
    # The hyphen keeps where the word was cut, so that it can be undone.
    return WORD.sub(_pig, text)


def unpig_latin(text: str) -> str:
    """Move the ends of words back: `at-whay ime-tay is-ay it-ay` -> `what time is it`."""
    return re.sub(r"([A-Za-z]*)-([A-Za-z]*)ay\b", lambda match: match[2] + match[1], text)


def _pig(match: re.Match[str]) -> str:
    split = ONSET.fullmatch(match[0])
    assert split is not None
    return f"{split[2]}-{split[1]}ay"


TRANSFORMS = {
    t.name: t
    for t in (
        Transform("leetspeak", "letters as digits", leetspeak, unleetspeak),
        Transform("pig-latin", "the beginning of each word behind its end", pig_latin, unpig_latin),
    )
}


def disguised(task: Task, transform: Transform) -> Task:
    """Return the task with its questions, choices and answers in disguise, named `TRANSFORM:TASK`.

    Raises:
        ValueError: the task is a conversation, or two choices of an item are spelled alike in disguise.
    """
    name = f"{transform.name}:{task.name}"
    splits = {
        split: mapped(lambda example: _example(name, task, example, transform), examples)
        for split, examples in task.splits.items()
    }
    template = replace(
        task.template,
        input="{{ input }}",
        instruction=transform.apply(task.template.instruction),
        # Both spellings: a model that falls out of the disguise stops too.
        stop=tuple(dict.fromkeys((*task.template.stop, *map(transform.apply, task.template.stop)))),
    )
    return replace(task, name=name, splits=splits, template=template, version=version(template, splits))


def _example(name: str, task: Task, example: Example, transform: Transform) -> Example:
    if "messages" in example.fields:
        raise ValueError(f"{name}: a conversation cannot be disguised; give a task of questions and answers")
    if example.checks:
        raise ValueError(
            f"{name}: a program checks its answers, and cannot read the disguise; give a task with answers of its own"
        )
    choices = None if example.choices is None else tuple(map(transform.apply, example.choices))
    # The right answer and a wrong one could not be told from each other.
    if choices and len(set(choices)) < len(set(example.choices or ())):
        raise ValueError(f"{name}: two choices are spelled alike in disguise; choose another disguise")
    answers = None if example.answers is None else tuple(map(transform.apply, example.answers))
    question = transform.apply(fill(task.template.input, example.fields))
    return Example({"input": question}, transform.apply(example.target), choices, answers)

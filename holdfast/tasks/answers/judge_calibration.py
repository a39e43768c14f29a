"""Pairs of answers of which it is known which one is better: what a judge is measured on before it is believed.

Ours are made of the training questions of the everyday suite: a right answer beside a wrong one of the same sort (that of another
question), shorter, longer or of like length, and pairs of equal quality: one answer twice, and one answer in few words and in many.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from random import Random

from holdfast.tasks.error_list import Problems
from holdfast.tasks.everyday import suite
from holdfast.tasks.formats.records import Record, read_records
from holdfast.tasks.task import Example
from holdfast.tasks.text.templates import asked_text

# Eleven, so that every task meets every form: of twelve, half would meet half of the six forms.
TASKS = (
    "capitals", "facts", "plurals", "past-tenses", "antonyms", "arithmetic", "counting", "lists", "patterns", "reading", "french-words",
)  # fmt: skip
SHORT, LONG = "{}", "The right answer to this question is as follows: {}"
EACH = 40  # pairs with a right and a wrong answer, for each order of the right one and each relation of their lengths
SAME, REWORDED = 20, 80  # pairs of equal quality: one text twice, and one answer in few words and in many
BETTER = {"first": -1, "second": 1, "equal": 0}
FIELDS = ("question", "first", "second", "better")


@dataclass(frozen=True, slots=True)
class KnownPair:
    """Two answers to a question; `truth` is +1 where the second is the better one, -1 where the first is, 0 where they are equal."""

    question: str
    first: str
    second: str
    truth: int


def known_pairs() -> list[KnownPair]:
    """Return our pairs, the same ones every time: half of each sort in either order."""
    # The form of the right answer and that of the wrong one: of like length (both short, both long), shorter, longer.
    forms = [(SHORT, SHORT), (LONG, LONG), (SHORT, LONG), (SHORT, LONG), (LONG, SHORT), (LONG, SHORT)]
    questions, pairs = _questions(), []
    for number in range(EACH * len(forms)):
        question, right, wrong = next(questions)
        right_form, wrong_form = forms[number % len(forms)]
        pairs.append(_ordered(question, right_form.format(right), wrong_form.format(wrong), number // len(forms) % 2))
    for number in range(SAME):
        question, right, _ = next(questions)
        text = (SHORT, LONG)[number % 2].format(right)
        pairs.append(KnownPair(question, text, text, 0))
    for number in range(REWORDED):
        question, right, _ = next(questions)
        texts = [SHORT.format(right), LONG.format(right)]
        pairs.append(KnownPair(question, texts[number % 2], texts[1 - number % 2], 0))
    return pairs


def read_known_pairs(path: Path) -> list[KnownPair]:
    """Return the pairs of a user's file: `question`, `first`, `second`, and `better` (first, second or equal), one a line.

    Raises:
        ValueError: there is no such file, or a line is no such pair; all faulty lines are named.
    """
    if not path.exists():
        raise ValueError(f"{path}: there is no such file of pairs with known answers")
    problems = Problems()
    pairs = [pair for record in read_records(path, problems) if (pair := _pair(record, problems))]
    problems.stop()
    return pairs


def pairs_version(pairs: list[KnownPair]) -> str:
    """Return hex digits that change with any of the pairs."""
    text = json.dumps([asdict(pair) for pair in pairs], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _pair(record: Record, problems: Problems) -> KnownPair | None:
    for name in FIELDS:
        if not isinstance(record.values.get(name), str):
            problems.add(record.where, f"`{name}` is missing or no text; a pair has {', '.join(FIELDS)}")
            return None
    question, first, second, better = (str(record.values[name]) for name in FIELDS)
    if better not in BETTER:
        problems.add(record.where, f"`better` is {better[:40]!r}; write first, second or equal")
        return None
    return KnownPair(question, first, second, BETTER[better])


def _ordered(question: str, right: str, wrong: str, order: int) -> KnownPair:
    return KnownPair(question, right, wrong, -1) if order == 0 else KnownPair(question, wrong, right, 1)


def _questions() -> Iterator[tuple[str, str, str]]:
    """Yield questions with their answer and a wrong one of about its length, the tasks by turns."""
    rng = Random("judge")
    by_task = {}
    for name in TASKS:
        task = suite.task(name)
        examples = list(task.splits["train"])
        rng.shuffle(examples)
        by_task[name] = task, cycle(examples), examples
    for name in cycle(TASKS):
        task, turns, examples = by_task[name]
        example = next(turns)
        text = f"{task.template.instruction}\n{asked_text(task.template, example)}"
        yield text, example.target, _wrong(example, examples, rng)


def _wrong(example: Example, examples: list[Example], rng: Random) -> str:
    """Return the answer of another question that this one does not accept, of about the right one's length."""
    accepted = {answer.casefold() for answer in (example.target, *example.accepted)}
    others = sorted({other.target for other in examples if other.target.casefold() not in accepted})
    rng.shuffle(others)
    return min(others, key=lambda text: abs(len(text) - len(example.target)))

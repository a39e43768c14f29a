"""Judges: is an answer that a model wrote right, given the example that it answers?"""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast.plugins import run_file, unknown
from holdfast.tasks.task import Example

Judge = Callable[[str, Example], bool]
NUMBER = re.compile(r"-?(?:\d[\d,]*)?\.?\d+")


def exact(answer: str, example: Example) -> bool:
    """Return whether the answer is an accepted one, letter by letter but for space at its ends."""
    return answer.strip() in [gold.strip() for gold in example.accepted]


def normalised(answer: str, example: Example) -> bool:
    """Return whether the answer is an accepted one, but for case, punctuation and articles."""
    return words(answer) in [words(gold) for gold in example.accepted]


def numeric(answer: str, example: Example) -> bool:
    """Return whether the last number of the answer is the last number of an accepted one: the result, however it was come by."""
    value = last_number(answer)
    golds = [last_number(gold) for gold in example.accepted]
    return value is not None and any(gold is not None and math.isclose(value, gold, rel_tol=1e-9) for gold in golds)


def overlap(threshold: float) -> Judge:
    """Return the judge that accepts word F1 of `threshold` or more with an accepted answer."""
    return lambda answer, example: max(f1(words(answer), words(gold)) for gold in example.accepted) >= threshold


def find_judge(name: str, threshold: float) -> Judge:
    """Return the judge `exact`, `answer`, `number` or `f1` (of `threshold`), or the function of a user's file, `path.py:function`.

    Raises:
        ValueError: there is no such judge, file or function; or the file fails.
    """
    known: dict[str, Judge] = {"exact": exact, "answer": normalised, "number": numeric, "f1": overlap(threshold)}
    if name in known:
        return known[name]
    path, colon, symbol = name.rpartition(":")
    if not path.endswith(".py") or not colon:
        raise unknown("judge", name, [*known, "path/to/file.py:function"])
    if not Path(path).is_file():
        raise ValueError(f"judge={name}: there is no file {path}")
    function = getattr(run_file(Path(path)), symbol, None)
    if not callable(function):
        raise ValueError(f"judge={name}: {path} defines no function {symbol}(answer, example)")
    return lambda answer, example: bool(function(answer, example))


def words(text: str) -> list[str]:
    """Return the words of a text without case, punctuation and articles."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    """Return the F1 of words that two answers have in common, as often as both have them."""
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold)) if common else 0.0


def last_number(text: str) -> float | None:
    """Return the last number in a text, commas between digits ignored; None where there is none."""
    numbers = NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None

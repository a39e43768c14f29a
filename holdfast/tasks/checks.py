"""Checks of an answer that a program makes, each a line of text: `words 3`, `contains river`, `upper`, `list a, b, c`.

An item with `Example.checks` has many right answers, or one that is compared by its meaning (JSON). An answer is right where it
passes all of them. Words and items are compared without case; `equals` to the letter.
"""

import json
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

from holdfast.tasks.error_list import nearest

Check = Callable[[str, str], bool]  # the answer, stripped, and what stands behind the check's name


def passes(answer: str, checks: Sequence[str]) -> bool:
    """Return whether an answer passes every check.

    Raises:
        ValueError: there is no such check, or what stands behind its name is not what it needs.
    """
    # Each is run before any is judged, so that a mistake in one is reported whatever the answer is.
    passed = [_passes(answer.strip(), check) for check in checks]
    return all(passed)


def _passes(answer: str, check: str) -> bool:
    name, _, argument = check.partition(" ")
    if name not in CHECKS:
        raise ValueError(f"check {check!r}: unknown; {nearest(name, CHECKS)}there are {', '.join(CHECKS)}")
    try:
        return CHECKS[name](answer, argument)
    except ValueError as error:
        raise ValueError(f"check {check!r}: {error}; write for example {EXAMPLES[name]!r}") from None


def _words(answer: str, argument: str) -> bool:
    """Count the words: exactly `3`, or in the range `4-20`."""
    low, _, high = argument.partition("-")
    return int(low) <= len(answer.split()) <= int(high or low)


def _contains(answer: str, argument: str) -> bool:
    """Look for a word or several in a row, as whole words."""
    if not argument:
        raise ValueError("nothing to look for")
    return re.search(rf"(?<!\w){re.escape(argument)}(?!\w)", answer, re.IGNORECASE) is not None


def _repeats(answer: str, argument: str) -> bool:
    """Count a word: `3 river`."""
    count, _, word = argument.partition(" ")
    return sum(_bare(w) == _bare(word) for w in answer.split()) == int(count)


def _begins(answer: str, argument: str) -> bool:
    return answer.casefold().startswith(argument.casefold())


def _ends(answer: str, argument: str) -> bool:
    """Compare the end; punctuation behind the last word does not count unless it is asked for."""
    ending = argument.casefold()
    return answer.casefold().endswith(ending) or (ending[-1:].isalnum() and _bare(answer).endswith(ending))


def _upper(answer: str, argument: str) -> bool:
    return answer.isupper()  # false of a text without letters


def _lower(answer: str, argument: str) -> bool:
    return answer.islower()


def _equals(answer: str, argument: str) -> bool:
    return answer == argument


def _list(answer: str, argument: str) -> bool:
    """Compare the items between commas, in their order."""
    return [_bare(item) for item in answer.split(",")] == [_bare(item) for item in argument.split(",")]


def _json(answer: str, argument: str) -> bool:
    """Compare as JSON: order of keys, spaces and the case of texts do not count, nor do lines behind that of the object's end."""
    expected = json.loads(argument)  # its error is a ValueError: the check is wrong
    try:
        value, end = json.JSONDecoder().raw_decode(answer)
    except (ValueError, RecursionError):  # A model may write a thousand brackets.
        return False
    rest = answer[end:].strip(" ")
    return _folded(value) == _folded(expected) and not rest.partition("\n")[0]


def _folded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _folded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_folded(entry) for entry in value]
    # True == 1 in Python, and not in JSON.
    return value.strip().casefold() if isinstance(value, str) else (type(value) is bool, value)


def _bare(text: str) -> str:
    return text.strip().strip(string.punctuation + " ").casefold()


CHECKS: dict[str, Check] = {
    "words": _words,
    "contains": _contains,
    "repeats": _repeats,
    "begins": _begins,
    "ends": _ends,
    "upper": _upper,
    "lower": _lower,
    "equals": _equals,
    "list": _list,
    "json": _json,
}
EXAMPLES = {
    "words": "words 3",
    "contains": "contains river",
    "repeats": "repeats 2 river",
    "begins": "begins R",
    "ends": "ends !",
    "upper": "upper",
    "lower": "lower",
    "equals": "equals RIVER",
    "list": "list a, b, c",
    "json": 'json {"a": 1}',
}

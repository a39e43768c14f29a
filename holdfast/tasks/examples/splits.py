"""Held-out examples, and the version of a task: both by hashes of content, so that order and machine change neither."""

import hashlib
import json
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from holdfast.tasks.formats.stored import chosen
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.templates import asked_text

Splits = Mapping[str, Sequence[Example]]
SHARE, MOST = 0.1, 200


def with_validation(template: Template, splits: Splits, seed: int) -> Splits:
    """Return the splits, where there is a train and no validation with a tenth of train moved there, at most 200 examples."""
    train = splits.get("train", ())
    if "validation" in splits or not train:
        return splits
    order = _order(template, train, seed)
    different = len(np.unique(order))
    if different < 2:
        return splits
    parts = _take(train, order, {"validation": min(_tenth(different), MOST)})
    return parts | {name: examples for name, examples in splits.items() if name != "train"}


def split_one(template: Template, examples: Sequence[Example], seed: int) -> Splits:
    """Return 80 % of the examples as train, 10 % as validation, 10 % as test.

    Raises:
        ValueError: fewer than three different examples.
    """
    order = _order(template, examples, seed)
    different = len(np.unique(order))
    if different < 3:
        raise ValueError(f"{different} different examples; a task in one file needs at least three")
    return _take(examples, order, {"validation": _tenth(different), "test": _tenth(different)})


def subset(task: Task, limit: int | None, share: float, seed: int) -> Task:
    """Return the task with `limit` of its training examples, or a share of them (at least one), in their order.

    They are the first of one random order for each seed: of two parts the smaller lies in the larger, so that what a learning curve
    gains from one point to the next, it gains from more examples and not from others.

    Raises:
        ValueError: there are fewer than `limit`, so that the point would be that of all of them under another name.
    """
    train = task.splits.get("train", ())
    if limit is None and share == 1:
        return task
    if limit is not None and limit > len(train):
        raise ValueError(
            f"train_limit={limit}: {task.name} has {len(train)} training examples; ask for fewer, or leave it out"
        )
    count = len(train) if limit is None else limit
    count = min(count, max(1, round(share * len(train))))
    order = random.Random(f"{task.name}:{seed}:subset").sample(range(len(train)), len(train))
    return replace(task, splits={**task.splits, "train": chosen(train, sorted(order[:count]))})


def evenly(n: int, limit: int | None) -> Sequence[int]:
    """Return at most `limit` of the numbers 0 to n-1, evenly spaced: the same for everyone, and from the whole of the data."""
    if limit is None or limit >= n:
        return range(n)
    return [i * n // limit for i in range(limit)]


def version(template: Template, splits: Splits) -> str:
    """Return the first 12 hex digits of SHA-256 over the template and every example in order."""
    content = asdict(template)
    # Tasks that train their last answer keep the version that they had before there was a choice.
    if template.loss == "last":
        del content["loss"]
    digest = hashlib.sha256(_canonical(content).encode())
    for name, examples in sorted(splits.items()):
        for example in examples:
            digest.update(f"\n{name} {_content(example)}".encode())
    return digest.hexdigest()[:12]


def _tenth(n: int) -> int:
    # A part without examples could not be measured on.
    return max(round(SHARE * n), 1)


def _take(examples: Sequence[Example], order: np.ndarray, sizes: Mapping[str, int]) -> dict[str, Sequence[Example]]:
    """Give the lowest places to the named parts, as many different ones as each says, the rest to `train`; examples of one place stay
    together, and each part keeps their order."""
    different = np.unique(order, return_inverse=True)[1]
    ends = np.cumsum(list(sizes.values()))
    part = np.searchsorted(ends, different, side="right")
    numbers = {"train": len(sizes)} | {name: number for number, name in enumerate(sizes)}
    return {name: chosen(examples, np.flatnonzero(part == number)) for name, number in numbers.items()}


def _order(template: Template, examples: Sequence[Example], seed: int) -> np.ndarray:
    """Return each example's place in the order in which the parts are drawn, `[N]`: equal for examples that ask the same and have the same
    target.

    By a digest and not by index, so that sorting a file anew moves no example. The lowest digest of the contents stands for all of a group,
    so that a task whose prompts show every column is drawn by its contents alone.
    """
    # The first 8 bytes of each hash, because there may be millions: that two are equal by chance, and stay together, is one in 10^7 of
    # a million examples.
    contents, questions = array("Q"), array("Q")
    for example in examples:
        contents.append(_begin(hashlib.sha256(f"{seed}:{_content(example)}".encode())))
        # By what the prompt shows: a column that it does not show, such as an `id`, would put the same question into train and test.
        text = asked_text(template, example)
        questions.append(_begin(hashlib.sha256(f"{len(text)}:{text}{example.target}".encode(errors="surrogatepass"))))
    group = np.unique(np.frombuffer(questions, np.uint64), return_inverse=True)[1]
    lowest = np.full(len(examples), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, group, np.frombuffer(contents, np.uint64))
    return lowest[group]


def _begin(digest: "hashlib._Hash") -> int:
    return int.from_bytes(digest.digest()[:8], "big")


def _content(example: Example) -> str:
    content: list[object] = [dict(example.fields), example.target, example.choices, example.answers]
    # Only where there are such: tasks without keep their version, and with it users' finished runs.
    content += [] if example.rejected is None else [example.rejected]
    return _canonical(content if example.checks is None else [*content, {"checks": example.checks}])


def _canonical(value: object) -> str:
    # Sorted and as UTF-8, because versions are compared between machines; what JSON cannot write enters as its text.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)

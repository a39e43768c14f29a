"""Held-out examples, and the version of a task: both by hashes of content, so that order and machine change neither."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, repeat

from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.templates import asked_text

Splits = Mapping[str, Sequence[Example]]
SHARE, MOST = 0.1, 200


def with_validation(template: Template, splits: Splits, seed: int) -> Splits:
    """Return the splits, where there is a train and no validation with a tenth of train moved there, at most 200 examples."""
    train = splits.get("train", ())
    digests = [] if "validation" in splits else _digests(template, train, seed)
    different = len(set(digests))
    if different < 2:
        return splits
    parts = _take(train, digests, {"validation": min(_tenth(different), MOST)})
    return parts | {name: examples for name, examples in splits.items() if name != "train"}


def split_one(template: Template, examples: Sequence[Example], seed: int) -> Splits:
    """Return 80 % of the examples as train, 10 % as validation, 10 % as test.

    Raises:
        ValueError: fewer than three different examples.
    """
    digests = _digests(template, examples, seed)
    different = len(set(digests))
    if different < 3:
        raise ValueError(f"{different} different examples; a task in one file needs at least three")
    return _take(examples, digests, {"validation": _tenth(different), "test": _tenth(different)})


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
    return replace(task, splits={**task.splits, "train": tuple(train[i] for i in sorted(order[:count]))})


def evenly(n: int, limit: int | None) -> list[int]:
    """Return at most `limit` of the numbers 0 to n-1, evenly spaced: the same for everyone, and from the whole of the data."""
    kept = n if limit is None else min(n, limit)
    return [i * n // kept for i in range(kept)]


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


def _take(
    examples: Sequence[Example], digests: Sequence[str], sizes: Mapping[str, int]
) -> dict[str, tuple[Example, ...]]:
    """Give the lowest digests to the named parts, as many different ones as each says, the rest to `train`; examples of one digest
    stay together, and each part keeps their order."""
    names = chain.from_iterable(repeat(name, size) for name, size in sizes.items())
    # By digest and not by index, so that sorting a file anew moves no example.
    part = dict(zip(sorted(set(digests)), names, strict=False))
    parts: dict[str, list[Example]] = {"train": [], **{name: [] for name in sizes}}
    for digest, example in zip(digests, examples, strict=True):
        parts[part.get(digest, "train")].append(example)
    return {name: tuple(items) for name, items in parts.items()}


def _digests(template: Template, examples: Sequence[Example], seed: int) -> list[str]:
    """Return a digest of each example, by which the parts are drawn: equal for examples that ask the same and have the same target.

    The lowest digest of the contents stands for all of a group, so that a task whose prompts show every column is drawn by its
    contents alone.
    """
    digests = [hashlib.sha256(f"{seed}:{_content(example)}".encode()).hexdigest() for example in examples]
    # By what the prompt shows: a column that it does not show, such as an `id`, would put the same question into train and test.
    keys = [(asked_text(template, example), example.target) for example in examples]
    lowest: dict[tuple[str, str], str] = {}
    for key, digest in zip(keys, digests, strict=True):
        lowest[key] = min(digest, lowest.get(key, digest))
    return [lowest[key] for key in keys]


def _content(example: Example) -> str:
    content: list[object] = [dict(example.fields), example.target, example.choices, example.answers]
    # Only where there are such: tasks without keep their version, and with it users' finished runs.
    content += [] if example.rejected is None else [example.rejected]
    return _canonical(content if example.checks is None else [*content, {"checks": example.checks}])


def _canonical(value: object) -> str:
    # Sorted and as UTF-8, because versions are compared between machines; what JSON cannot write enters as its text.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)

"""Which examples are held out, and the version of what results: both by hashes of content, so order and machine change
neither."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from holdfast.tasks.task import Example, Template

Splits = Mapping[str, tuple[Example, ...]]
SHARE, MOST = 0.1, 200


def with_validation(splits: Splits, seed: int) -> Splits:
    """The splits, where there is a train and no validation with a tenth of train moved there, at most 200 examples."""
    train = splits.get("train", ())
    different = len(set(_digests(train, seed)))
    if "validation" in splits or different < 2:
        return splits
    parts = _take(train, {"validation": min(_tenth(different), MOST)}, seed)
    return parts | {name: examples for name, examples in splits.items() if name != "train"}


def split_one(examples: Sequence[Example], seed: int) -> Splits:
    """80 % train, 10 % validation, 10 % test.

    Raises:
        ValueError: fewer than three different examples.
    """
    different = len(set(_digests(examples, seed)))
    if different < 3:
        raise ValueError(f"{different} different examples; a task in one file needs at least three")
    return _take(examples, {"validation": _tenth(different), "test": _tenth(different)}, seed)


def evenly(n: int, limit: int | None) -> list[int]:
    """At most `limit` of the numbers 0 to n-1, evenly spaced: the same for everyone, and from the whole of the data."""
    kept = n if limit is None else min(n, limit)
    return [i * n // kept for i in range(kept)]


def version(template: Template, splits: Splits) -> str:
    """The first 12 hex digits of SHA-256 over the template and every example in order."""
    digest = hashlib.sha256(_canonical(asdict(template)).encode())
    for name, examples in sorted(splits.items()):
        for example in examples:
            digest.update(f"\n{name} {_content(example)}".encode())
    return digest.hexdigest()[:12]


def _tenth(n: int) -> int:
    return max(round(SHARE * n), 1)


def _take(examples: Sequence[Example], sizes: Mapping[str, int], seed: int) -> dict[str, tuple[Example, ...]]:
    """The lowest digests to the named parts, as many different ones as each says, the rest to `train`; equal examples stay
    together, and each part keeps the order given."""
    digests = _digests(examples, seed)
    names = [name for name, size in sizes.items() for _ in range(size)]
    part = dict(zip(sorted(set(digests)), names, strict=False))
    parts: dict[str, list[Example]] = {"train": [], **{name: [] for name in sizes}}
    for digest, example in zip(digests, examples, strict=True):
        parts[part.get(digest, "train")].append(example)
    return {name: tuple(items) for name, items in parts.items()}


def _digests(examples: Sequence[Example], seed: int) -> list[str]:
    return [hashlib.sha256(f"{seed}:{_content(example)}".encode()).hexdigest() for example in examples]


def _content(example: Example) -> str:
    return _canonical([dict(example.fields), example.target, example.choices, example.answers])


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)

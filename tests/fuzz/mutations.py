"""Spoil a valid input: exchange a value of its JSON, overwrite a stretch of its bytes, or say a piece of it again.

Everything is drawn from a `random.Random`: a seeded one in a campaign, where speed counts, and Hypothesis' own in the tests.
"""

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import yaml

Inputs = Callable[[Random], bytes]
TEXTS = [
    "", " ", "\n", "\0", "\x1b[2J", "\u202e", "\ud800", "é́", "日本", "😀", "a" * 3000, "../..", "/etc/passwd", "~", "lab:count", "x[/b]",
    "[", "{", "{{", "{% for x in y %}", "%s", "NaN", "-1", "1e400", "true", "null", "*", "&a", "!!python/none", "<b>", "|", "`", "\\", '"',
    "'", "#", "2026-13-41", "0x" + "f" * 50, "9" * 400, "a: b", "- a", "\t", "\r\n", "\u2028", "\ufeff", "model.steps=1", "hf:a/b",
    "file.py:A", "__class__", "--", "1:2:3", "=", ",", "é" * 500,
]  # fmt: skip
NUMBERS = [
    0,
    1,
    -1,
    2,
    2**31,
    2**63,
    -(2**63),
    10**30,
    0.5,
    -0.0,
    1e300,
    float("nan"),
    float("inf"),
    float("-inf"),
    3.0,
]
PLAIN: list[Any] = [None, True, False, [], {}, *NUMBERS, *TEXTS]
DEEP = [f"{'[' * n}{']' * n}" for n in (5, 100, 5000)] + ['{"a":' * 500 + "1" + "}" * 500]
PIECES = [text.encode("utf-8", "surrogatepass") for text in (*TEXTS, *DEEP)]


def value(draw: Random, depth: int = 2) -> Any:
    """Return plain data that nobody expects."""
    sort = draw.random()
    if depth and sort < 0.1:
        return [value(draw, depth - 1) for _ in range(draw.randint(0, 4))]
    if depth and sort < 0.2:
        return {draw.choice(TEXTS): value(draw, depth - 1) for _ in range(draw.randint(0, 4))}
    if sort < 0.3:
        return "".join(
            chr(draw.choice([draw.randint(0, 127), draw.randint(0, 0x2FFF), draw.randint(0xE000, 0x10FFFF)]))
            for _ in range(4)
        )
    if sort < 0.35:
        return json.loads(draw.choice(DEEP[:2]))
    return copy.copy(draw.choice(PLAIN))


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside of plain data."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = [path] if path else []
    for key, entry in inner:
        found += _places(entry, (*path, key))
    return found


def plain_data(draw: Random, seeds: Sequence[Any]) -> Any:
    """Return one of the seeds with some values exchanged, removed or added; now and then, something else altogether."""
    data = copy.deepcopy(draw.choice(seeds))
    for _ in range(draw.randint(0, 3)):
        places = _places(data)
        if not places or draw.random() < 0.03:
            return value(draw)
        *path, last = draw.choice(places)
        holder = data
        for key in path:
            holder = holder[key]
        change = draw.choice(["replace", "replace", "remove", "add"])
        if change == "remove":
            del holder[last]
        elif change == "add" and isinstance(holder, dict):
            holder[draw.choice(TEXTS)] = value(draw)
        elif change == "add":
            holder.insert(0, value(draw))
        else:
            holder[last] = value(draw)
    return data


def spoilt(draw: Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds with stretches of its bytes removed, doubled, exchanged or overwritten."""
    data = draw.choice(seeds)
    for _ in range(draw.randint(0, 3)):
        start = draw.randint(0, len(data))
        end = min(len(data), start + draw.choice([0, 0, 1, 2, 4, 8, 64, 10_000]))
        piece = (
            draw.choice(PIECES)
            if draw.random() < 0.5
            else bytes(draw.randrange(256) for _ in range(draw.randint(0, 8)))
        )
        doubled = data[start:end] * draw.choice([1, 1, 2, 3])
        data = data[:start] + draw.choice([piece, piece, b"", doubled]) + data[end:]
    return data


def as_json(data: Any) -> bytes:
    """Return plain data as JSON; what JSON cannot say, such as a half of a character, as it comes."""
    return json.dumps(data, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


def as_yaml(data: Any) -> bytes:
    """Return plain data as YAML."""
    try:
        return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        return as_json(data)


def json_files(seeds: Sequence[Any]) -> Inputs:
    """Return what makes JSON files near the seeds: their values changed, or their bytes."""
    written = [as_json(seed) for seed in seeds]
    return lambda draw: as_json(plain_data(draw, seeds)) if draw.random() < 0.7 else spoilt(draw, written)


def yaml_files(seeds: Sequence[Any]) -> Inputs:
    """Return what makes YAML files near the seeds."""
    written = [as_yaml(seed) for seed in seeds]
    return lambda draw: as_yaml(plain_data(draw, seeds)) if draw.random() < 0.5 else spoilt(draw, written)


def line_files(seeds: Sequence[Any], lines: int = 5) -> Inputs:
    """Return what makes files of JSON lines, most of them good ones of one sort."""

    def make(draw: Random) -> bytes:
        seed = draw.choice(seeds)
        good = [as_json({**seed, "number": number}) for number in range(lines)]
        spoil = json_files([seed] if draw.random() < 0.9 else seeds)
        for _ in range(draw.randint(1, 2)):
            line = draw.randrange(lines)
            # Half of them hold what a file may well hold, so that the work behind the reading is done on odd texts too.
            good[line] = as_json(odd_texts(draw, seed)) if draw.random() < 0.5 else spoil(draw)
        return b"\n".join(good)

    return make


def mixture(*inputs: Inputs) -> Inputs:
    """Return what makes one of several sorts."""
    return lambda draw: draw.choice(inputs)(draw)


def odd_texts(draw: Random, data: Any) -> Any:
    """Return plain data with some of its texts exchanged for others; equal ones alike, so that a target stays among its choices."""
    names: dict[str, str] = {}

    def exchanged(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: exchanged(entry) for key, entry in part.items()}
        if isinstance(part, list):
            return [exchanged(entry) for entry in part]
        if not isinstance(part, str):
            return part
        return names.setdefault(part, draw.choice(TEXTS) if draw.random() < 0.4 else part)

    return exchanged(data)


def behind(number: int, inputs: Inputs) -> Inputs:
    """Return inputs behind a byte, by which a reader of several files knows which of them is spoilt."""
    return lambda draw: bytes([number]) + inputs(draw)

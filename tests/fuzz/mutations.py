"""Strategies that spoil a valid input: a value of its JSON exchanged, a stretch of its bytes, or a piece of it said again."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import yaml
from hypothesis import strategies as st

TEXTS = [
    "", " ", "\n", "\0", "\x1b[2J", "\u202e", "\ud800", "é́", "日本", "😀", "a" * 3000, "../..", "/etc/passwd", "~", "lab:count", "x[/b]",
    "[",
    "{", "{{", "{% for x in y %}", "%s", "NaN", "-1", "1e400", "true", "null", "*", "&a", "!!python/none", "<b>", "|", "`", "\\", '"',
    "'", "#",
    "2026-13-41", "0x" + "f" * 50, "9" * 400, "a: b", "- a", "\t", "\r\n", "\u2028", "\ufeff", "model.steps=1", "hf:a/b", "file.py:A",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e300, float("nan"), float("inf"), float("-inf"), 3.0]
PLAIN: list[Any] = [None, True, False, [], {}, *NUMBERS, *TEXTS]
VALUES = st.recursive(
    st.sampled_from(PLAIN) | st.text(max_size=8) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(TEXTS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=6,
)
DEEP = [f"{'[' * n}{']' * n}" for n in (5, 100, 5000)] + ['{"a":' * 500 + "1" + "}" * 500]
PIECES = [text.encode("utf-8", "surrogatepass") for text in (*TEXTS, *DEEP)]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside of plain data."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, entry in inner:
        found += _places(entry, (*path, key))
    return found


@st.composite
def plain_data(draw: Any, seeds: Sequence[Any]) -> Any:
    """Return one of the seeds with some values exchanged, removed or added; now and then, something else altogether."""
    data = copy.deepcopy(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(0, 3))):
        places = _places(data)
        if not places or draw(st.integers(0, 30)) == 0:
            return draw(VALUES)
        *path, last = draw(st.sampled_from(places))
        holder = data
        for key in path:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if change == "remove":
            del holder[last]
        elif change == "add" and isinstance(holder, dict):
            holder[draw(st.sampled_from(TEXTS) | st.text(max_size=5))] = draw(VALUES)
        elif change == "add":
            holder.insert(0, draw(VALUES))
        else:
            holder[last] = draw(VALUES)
    return data


@st.composite
def spoilt(draw: Any, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds with stretches of its bytes removed, doubled, exchanged or overwritten."""
    data = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 2, 4, 8, 64, 10_000])))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=8))
        doubled = data[start:end] * draw(st.sampled_from([1, 1, 1, 2, 3]))
        data = data[:start] + draw(st.sampled_from([piece, piece, b"", doubled])) + data[end:]
    return data


def as_json(value: Any) -> bytes:
    """Return plain data as JSON; what JSON cannot say, such as a half of a character, as it comes."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


def as_yaml(value: Any) -> bytes:
    """Return plain data as YAML."""
    try:
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        return as_json(value)


def json_files(seeds: Sequence[Any]) -> Any:
    """Return the bytes of JSON files near the seeds: their values changed, or their bytes."""
    return plain_data(seeds).map(as_json) | spoilt([as_json(seed) for seed in seeds])


def yaml_files(seeds: Sequence[Any]) -> Any:
    """Return the bytes of YAML files near the seeds."""
    return plain_data(seeds).map(as_yaml) | spoilt([as_yaml(seed) for seed in seeds])


def line_files(seeds: Sequence[Any]) -> Any:
    """Return the bytes of files of some JSON lines, of which each may be spoilt."""
    return st.lists(json_files(seeds), min_size=1, max_size=5).map(b"\n".join)

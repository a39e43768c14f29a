"""Settings of a task in `task.yaml`, beside its data. Every key is optional, and an unknown one is an error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from holdfast.tasks.error_list import Problems, nearest, short_repr
from holdfast.tasks.formats.records import json_type
from holdfast.tasks.task import METRICS, SPLITS, Template
from holdfast.tasks.yaml_files import read_yaml

LONGEST_NAME = 200  # characters


@dataclass(frozen=True, slots=True)
class TaskYaml:
    """The keys of `task.yaml`; None leaves the default.

    `input`, `instruction`, `delimiter`, `separator`, `stop` and `chat` are the template's. `target`, `choices`,
    `answers` and `checks` are each a column, or a Jinja expression over the columns (`translation.fr`,
    `'yes' if score > 3.5 else 'no'`); `verbalizer` maps the target's raw values to the words that are asked for.
    `source` (`hf:dataset[:config]`) says where the data is, if not in the folder, and `splits` which of the source's
    splits serve as train, validation and test. `limit` takes at most so many rows of a split, evenly spaced, and
    `keep`, an expression, leaves out the rows for which it is false. Of lines with `messages`, `loss` says which of the assistant's
    messages are trained (`all`, which is the default, `last`, or `call`: the tool calls in them), and `think` what becomes of their
    `<think>` blocks (`keep`, `drop`, `require`). Of lines with `turns`, `call_steps` says in how many steps a call is asked for (2, the
    default: which function, then its arguments with that function alone in view; 1: both at once).
    """

    name: str | None = None
    metric: str | None = None
    input: str | None = None
    instruction: str | None = None
    delimiter: str | None = None
    separator: str | None = None
    stop: tuple[str, ...] | None = None
    chat: bool | str | None = None
    loss: str | None = None
    think: str | None = None
    call_steps: int | None = None
    target: str | None = None
    choices: str | None = None
    answers: str | None = None
    checks: str | None = None
    verbalizer: Mapping[str, str] | None = None
    source: str | None = None
    splits: Mapping[str, str] | None = None
    limit: int | None = None
    keep: str | None = None

    def template(self, default: Template) -> Template:
        """Return `default` with everything replaced that is set here."""
        return replace(default, **{f.name: v for f in fields(Template) if (v := getattr(self, f.name)) is not None})


def read_settings(path: Path) -> TaskYaml:
    """Return the settings in a `task.yaml`; without the file, the defaults.

    Raises:
        ValueError: the file is not YAML, or has keys or values that mean nothing; all of them at once.
    """
    if not path.exists():
        return TaskYaml()
    values = read_yaml(path, "docs/add-a-task.md shows one")
    values = {} if values is None else values  # An empty file.
    if not isinstance(values, dict):
        raise ValueError(f"{path}: is {json_type(values)}; write `key: value` lines")
    problems = Problems()
    settings = parse_settings(values, path, problems)
    problems.stop()
    return settings


def parse_settings(values: Mapping[Any, Any], where: object, problems: Problems) -> TaskYaml:
    """Return checked settings; what is wrong goes to `problems` and stays unset."""
    known = [f.name for f in fields(TaskYaml)]
    good: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            name = short_repr(str(key))[1:-1]
            problems.add(where, f"unknown key `{name}`; {nearest(name, known)}keys: {', '.join(known)}")
            continue
        try:
            good[key] = _CHECKS.get(key, _text)(value)
        except ValueError as error:
            problems.add(where, f"`{key}` {error}")
    return TaskYaml(**good)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {json_type(value)}, not text; put it in quotes")
    return value


def _name(value: Any) -> str:
    name = _text(value)
    # It stands in names of files, in tables and on a terminal, where an escape sequence would be obeyed.
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise ValueError(f"is {short_repr(name)}; write 1 to {LONGEST_NAME} printable characters on one line")
    return name


def _stop(value: Any) -> tuple[str, ...]:
    return tuple(_text(entry) for entry in ([value] if isinstance(value, str) else _list(value)))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"is {json_type(value)}; write one text or a list of texts")
    return value


def _metric(value: Any) -> str:
    if not isinstance(value, str) or value not in METRICS:
        raise ValueError(f"{short_repr(value)} is unknown; {nearest(str(value), METRICS)}metrics: {', '.join(METRICS)}")
    return value


def _chat(value: Any) -> bool | str:
    if value not in (True, False, "auto"):
        raise ValueError(f"{short_repr(value)} is unknown; write true, false or auto")
    return value


def _choice(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(
                f"{short_repr(value)} is unknown; {nearest(str(value), choices)}write {', '.join(choices)}"
            )
        return value

    return check


def _verbalizer(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"is {json_type(value)}; write `raw value: word` lines")
    for word in value.values():
        # YAML reads an unquoted yes or no as a truth value.
        if not isinstance(word, str) or not word:
            raise ValueError(f"maps to {short_repr(word)}, which is no text; put the word in quotes")
    # Keys as text: YAML reads 0 and false as a number and a truth value, and a CSV file holds texts.
    return {str(raw): word for raw, word in value.items()}


def _splits(value: Any) -> dict[str, str]:
    if (
        not isinstance(value, dict)
        or not set(value) <= set(SPLITS)
        or not all(isinstance(v, str) for v in value.values())
    ):
        raise ValueError(f"{short_repr(value)} is no mapping of {', '.join(SPLITS)} to names of the source's splits")
    return dict(value)


def _limit(value: Any) -> int:
    # True is an int in Python.
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{short_repr(value)} is no number of examples; write a whole number above 0")
    return value


def _steps(value: Any) -> int:
    if value not in (1, 2) or isinstance(value, bool):
        raise ValueError(f"{short_repr(value)} is unknown; write 1 or 2")
    return value


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "call_steps": _steps,
    "chat": _chat,
    "limit": _limit,
    "loss": _choice("all", "last", "call"),
    "metric": _metric,
    "name": _name,
    "splits": _splits,
    "stop": _stop,
    "think": _choice("keep", "drop", "require"),
    "verbalizer": _verbalizer,
}

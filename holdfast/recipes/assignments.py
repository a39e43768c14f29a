"""Read `--set stage.field=value` and `NAME:VALUE` as the command line, a plan of a study and Python write them."""

import ast
from collections.abc import Mapping
from typing import Any

from holdfast import plugins


def parse(assignments: list[str]) -> dict[str, dict[str, Any]]:
    """Parse `["prompt.steps=200"]` to `{"prompt": {"steps": 200}}`; a value is a Python literal where it can be, else text.

    `model.config.r=8` is the entry `r` of the field `config`.

    Raises:
        ValueError: an assignment lacks the point or the equals sign, or an entry of a field is to be swept.
    """
    sections: dict[str, dict[str, Any]] = {}
    for text in assignments:
        # At the first equals sign: a value may hold further ones.
        left, equals, value = text.partition("=")
        stage, dot, key = left.strip().partition(".")
        if equals and not dot:
            raise ValueError(f"--set {text}: name the stage too, such as model.{text}")
        if not equals:
            raise ValueError(f"--set {text}: write stage.field=value, such as prompt.steps=200")
        _enter(sections.setdefault(stage, {}), key, literal(value))
    return sections


def _enter(fields: dict[str, Any], key: str, value: Any) -> None:
    """Set a field of a stage, or with `config.r` an entry of it."""
    name, dot, entry = key.partition(".")
    if not dot:
        fields[key] = value
        return
    if str(value).startswith("sweep"):
        raise ValueError(
            f"{key}={value}: only a whole field is swept; give each value to a run of its own, as the arms of a study"
        )
    entries = fields.get(name)
    fields[name] = {**(entries if isinstance(entries, Mapping) else {}), entry: value}


def split_choice(argument: str, *families: plugins.Family) -> tuple[str, dict[str, str]]:
    """Return a technique's name and the field that `NAME:VALUE` sets, such as `type` of `peft:IA3`; without one, the argument itself.

    Only a technique whose class says by `selects` which field that is takes one.
    """
    name, colon, value = argument.partition(":")
    for family in families if colon and value and ".py:" not in argument else ():
        described = plugins.techniques(family).get(name)
        if described is not None and (field := ast.literal_eval(described.attributes.get("selects", "''"))):
            return name, {field: value}
    return argument, {}


def literal(text: str) -> Any:
    """Return a value as the command line writes it: a Python or YAML-like literal where it is one, else text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # `{[]: 1}`; a thousand brackets
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def nested(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return fields of stages by stage: of `{"prompt.steps": 200}` or `{"prompt": {"steps": 200}}` (`prompt_` does as well).

    Raises:
        ValueError: a field names no stage, or an entry of a field is to be swept.
    """
    stages: dict[str, dict[str, Any]] = {}
    for key, value in fields.items():
        if key == "set":  # as the command line's option and a study's field are called
            raise ValueError("set: in Python a stage's fields are named by the stage, such as model_={'steps': 200}")
        stage, dot, name = key.partition(".")
        if dot:
            _enter(stages.setdefault(stage, {}), name, value)
        elif isinstance(value, Mapping):
            # `model_={...}`: without the underscore it would be the argument `model` of `tune`.
            stages.setdefault(stage.rstrip("_"), {}).update(value)
        else:
            raise ValueError(
                f"{key}={value!r}: name the stage too, such as model.{key} (in Python model_={{{key!r}: {value!r}}})"
            )
    return stages

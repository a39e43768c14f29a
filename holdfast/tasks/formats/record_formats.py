"""The sets of keys that a line may have, and what each means as an example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.tasks.checks import passes
from holdfast.tasks.error_list import nearest
from holdfast.tasks.formats.conversation import read_conversation
from holdfast.tasks.formats.dialogues import to_dialogue
from holdfast.tasks.formats.records import json_type
from holdfast.tasks.formats.settings import TaskYaml
from holdfast.tasks.formats.sharegpt import from_sharegpt
from holdfast.tasks.jinja import evaluate
from holdfast.tasks.task import DOCUMENT, Example, Template

CONVERSATION = "{% for turn in messages %}{{ turn.role | capitalize }}: {{ turn.content }}\n{% endfor %}Assistant:"
INSTRUCTION = """### Instruction:
{{ instruction }}
{% if input %}
### Input:
{{ input }}
{% endif %}
### Response:
"""
COLUMNS = "name the columns in a folder's task.yaml (`input`, `target`) and give the folder"
AS_DOCUMENTS = 'for documents to be learned as they are, write `input: ""` and `target: text` there'


@dataclass(frozen=True, slots=True)
class Shape:
    """One set of keys: the texts that are read, the key of the answer, the template that suits them, and if they are turns of a talk, or
    of a dialogue with its states. One that stands `alone` is not taken where there are other keys."""

    name: str
    reads: tuple[str, ...]
    target: str
    template: Template
    conversation: bool = False
    dialogue: bool = False
    alone: bool = False


SHAPES = (
    Shape("input/target", ("input",), "target", Template()),
    Shape("prompt/completion", ("prompt",), "completion", Template(input="{{ prompt }}", delimiter="")),
    Shape("prompt/chosen", ("prompt",), "chosen", Template(input="{{ prompt }}", delimiter="")),
    Shape("messages", ("messages",), "messages", Template(input=CONVERSATION, chat="auto"), conversation=True),
    Shape(
        "conversations",
        ("conversations",),
        "conversations",
        Template(input=CONVERSATION, chat="auto"),
        conversation=True,
    ),
    Shape(
        "turns",
        ("turns",),
        "turns",
        Template(input=CONVERSATION, chat="auto", stop=("\nTool:", "\nUser:"), loss="call"),
        dialogue=True,
    ),
    Shape("instruction/output", ("instruction",), "output", Template(input=INSTRUCTION, delimiter="")),
    Shape("text/label", ("text",), "label", Template(input="{{ text }}\nAnswer:")),
    # Alone: beside other keys a text is more often what is asked about, and the answer's key is misspelt.
    Shape("text", (), "text", DOCUMENT, alone=True),
)


def shape_of(values: Mapping[str, Any], settings: TaskYaml) -> Shape:
    """Return the shape of a line; where `task.yaml` names the target, any columns.

    Raises:
        ValueError: no set of keys is complete; says what is missing from the nearest.
    """
    if settings.target is not None:
        return Shape("columns", (), settings.target, Template())
    # In order of preference: a line with the keys of two shapes is of the first.
    for shape in SHAPES:
        keys = {*shape.reads, shape.target}
        if keys == values.keys() or (keys < values.keys() and not shape.alone):
            return shape
    raise ValueError(_incomplete(values))


def _incomplete(values: Mapping[str, Any]) -> str:
    def missing(shape: Shape) -> list[str]:
        return [key for key in dict.fromkeys((*shape.reads, shape.target)) if key not in values]

    def likeness(shape: Shape) -> float:
        keys = {*shape.reads, shape.target}
        return sum(1.0 if key in values else 0.7 * bool(nearest(key, values)) for key in keys) / len(keys)

    # The shape that the user most likely meant, so that the message names one missing key and not all of all shapes.
    best = max((shape for shape in SHAPES if not shape.alone), key=likeness)
    keys_present = ", ".join(values) or "none"
    if likeness(best) == 0:
        known = ", ".join(shape.name for shape in SHAPES)
        return f"its keys ({keys_present}) are none of {known}; {COLUMNS}"
    key = missing(best)[0]
    near = nearest(key, [k for k in values if k not in (*best.reads, best.target)]).replace("did you mean", "is it")
    documents = f"; {AS_DOCUMENTS}" if "text" in values or len(values) == 1 else ""
    return f"no `{key}`; {near}keys: {keys_present}{'' if near else f'; add it, or {COLUMNS}'}{documents}"


def to_example(
    values: Mapping[str, Any], shape: Shape, settings: TaskYaml, closed: Mapping[str, tuple[str, ...]]
) -> Example:
    """Return one line as an example; `closed` gives the words of columns that are known to hold a closed set of labels.

    Raises:
        ValueError: what is wrong with the line, and what to do.
    """
    # A conversation carries its answer in itself, so that none of the other keys has a meaning.
    if shape.conversation:
        messages = from_sharegpt(values) if shape.target == "conversations" else values
        return Example(*read_conversation(messages, settings.think, settings.loss))
    if shape.dialogue:
        return to_dialogue(values, settings.call_steps or 2)
    for key in shape.reads:
        _text(key, values[key])
    words = settings.verbalizer or {}
    target = _target(evaluate(shape.target, values), shape.target, words)
    choices = _listed("choices", values, settings)
    if choices is None:
        choices = tuple(dict.fromkeys(words.values())) or closed.get(shape.target)
    else:
        choices = tuple(dict.fromkeys(words.get(choice, choice) for choice in choices))  # real data repeats some
    if choices is not None:
        _check_choices(target, choices)
    answers = _listed("answers", values, settings)
    if answers is not None and target not in answers:
        # The answer that is trained on must be marked as right.
        answers = (target, *answers)
    # By the settings only: a column that happens to be called `checks` is a column like any other.
    checks = _listed("checks", values, settings) if settings.checks else None
    # Programs are not run to read a file: who reads it has not allowed it.
    if checks is not None and settings.metric != "pass@1" and not passes(target, checks):
        raise ValueError(f"the target {target!r} does not pass its own checks {list(checks)}; correct one of the two")
    # The target is no field: a template could print the answer into the question.
    fields = {key: value for key, value in values.items() if key not in (shape.target, "answers")}
    rejected = values.get("rejected")
    # With columns named in `task.yaml`, one that happens to be called `rejected` is a column like any other.
    if settings.target is None and rejected is not None:
        rejected = _text("rejected", fields.pop("rejected"))
    if shape.reads == ("instruction",):
        # Instruction data leaves the key out where there is no input, and the template asks for it.
        fields["input"] = _text("input", fields.get("input") or "")
    return Example(fields, target, choices, answers, rejected if isinstance(rejected, str) else None, checks=checks)


def _target(value: object, key: str, words: Mapping[str, str]) -> str:
    if words:
        if str(value) not in words:
            raise ValueError(f"`{key}` is {value!r}, which the verbalizer does not map ({', '.join(words)}); add it")
        return words[str(value)]
    text = _text(key, value)
    if not text.strip():
        column = f" (all such: `keep: {key}.strip()` in a folder's task.yaml)" if key.isidentifier() else ""
        raise ValueError(f"`{key}` is empty, so there is nothing to learn; fill it, or remove the line{column}")
    return text


def _listed(key: str, values: Mapping[str, Any], settings: TaskYaml) -> tuple[str, ...] | None:
    """Return `choices`, `answers` or `checks`: by the settings; where those leave the target to the standard keys, by the key itself."""
    expression = getattr(settings, key)
    if expression is None and settings.target is None and key in values:
        expression = key
    value = None if expression is None else evaluate(expression, values)
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"`{key}` is {json_type(value)}{' without entries' * (value == [])}; write a list of texts")
    return tuple(_text(key, entry) for entry in value)


def _check_choices(target: str, choices: tuple[str, ...]) -> None:
    if target not in choices:
        hint = nearest(target, choices).rstrip() or "correct one of the two"
        raise ValueError(f"the target {target!r} is not among the choices {list(choices)}; {hint}")
    if len(choices) < 2:
        raise ValueError(
            f"the choices {list(choices)} leave nothing to choose; list every answer, or leave the key out"
        )


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        hint = "map it to words with `verbalizer` in a task.yaml" if isinstance(value, int | float) else "write text"
        raise ValueError(f"`{key}` is {json_type(value)}, not text; {hint}")
    return value

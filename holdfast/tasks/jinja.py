"""Templates and expressions over an example's fields: Jinja in a sandbox, where a field that is missing is an error."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.exceptions import UndefinedError

from holdfast.tasks.bounded_jinja import BoundedEnvironment, TooMuch, counted
from holdfast.tasks.error_list import nearest

NO_NAME = re.compile(r"\W|^(?=\d)")  # what a name in Jinja has not


def _printable(value: object) -> object:
    # Jinja would print "None", a word like any other, into the prompt.
    if value is None:
        raise TypeError("a field that it prints is null; fill it, or guard it with {% if ... %}")
    return value


# A sandbox, because task files are passed from hand to hand. Strict, because a mistyped field would print as nothing and the
# model would be asked a question without its text. Trailing newlines are part of a prompt.
_ENVIRONMENT = BoundedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_printable)


def fill(text: str, fields: Mapping[str, object], columns: Iterable[str] = ()) -> str:
    """Return the Jinja template `text` filled with `fields`; an error lists `columns`, of which one may be the answer and no field.

    Raises:
        ValueError: not valid Jinja, a field that is not there (the nearest is named), a printed null, a failure.
    """
    compiled, used = compile_template(text)
    try:
        return compiled.render(_named(fields))
    except TooMuch:
        raise
    except Exception as error:  # whatever a user's template raises is the template's fault
        raise ValueError(_why(error, used, fields, columns)) from None


def evaluate(text: str, fields: Mapping[str, object]) -> Any:
    """Return the field that is called `text`, or else the value of the Jinja expression `text` over the fields.

    Raises:
        ValueError: as `fill`.
    """
    # A column wins over an expression: its name may have a space or a dash, which Jinja could not read.
    if text in fields:
        return fields[text]
    run, used = _compile_expression(text)
    try:
        with counted():
            value = run(_named(fields))
        if isinstance(value, StrictUndefined):
            str(value)  # raises, with the reason
        return value
    except TooMuch:
        raise
    except Exception as error:  # as above
        raise ValueError(_why(error, used, fields)) from None


def _named(fields: Mapping[str, object]) -> Mapping[str, object]:
    """Return the fields; one whose name Jinja cannot read (`Review text`) by that with underscores too (`Review_text`)."""
    others = {NO_NAME.sub("_", key): value for key, value in fields.items() if not key.isidentifier()}
    return {**others, **fields} if others else fields


# Cached: a task has one template for all of its examples, and compiling takes longer than filling.
@lru_cache(maxsize=512)
def compile_template(text: str) -> tuple[Template, frozenset[str]]:
    """Return a compiled Jinja template, and the names that it takes from its fields.

    Raises:
        ValueError: it is not valid Jinja.
    """
    try:
        used = meta.find_undeclared_variables(_ENVIRONMENT.parse(text))
        return _ENVIRONMENT.from_string(text), frozenset(used)
    except TemplateSyntaxError as error:
        raise ValueError(f"the template is not valid Jinja (its line {error.lineno}: {error.message})") from None
    except TooMuch:
        raise
    except Exception as error:  # Such as RecursionError, of Jinja or of Python, which compiles what Jinja writes.
        raise ValueError(f"the template cannot be compiled ({_reason(error)}); make it simpler") from None


@lru_cache(maxsize=512)
def _compile_expression(text: str) -> tuple[Any, frozenset[str]]:
    try:
        used = meta.find_undeclared_variables(_ENVIRONMENT.parse("{{ " + text + " }}"))
        return _ENVIRONMENT.compile_expression(text, undefined_to_none=False), frozenset(used)
    except TemplateSyntaxError as error:
        raise ValueError(f"`{text[:200]}` is neither a column nor a Jinja expression ({error.message})") from None
    except TooMuch:
        raise
    except Exception as error:  # as above
        raise ValueError(f"`{text[:200]}` cannot be compiled ({_reason(error)}); make it simpler") from None


def _reason(error: Exception) -> str:
    """Return an error's text, or its type where it has none."""
    return str(error)[:500] or type(error).__name__


def _why(error: Exception, used: frozenset[str], fields: Mapping[str, object], columns: Iterable[str] = ()) -> str:
    missing = sorted(used - set(_named(fields))) if isinstance(error, UndefinedError) else []
    if not missing:
        return f"the template fails on this example: {_reason(error)}"
    there = list(columns) or list(fields)
    if missing[0] in there:
        return f"the template uses `{missing[0]}`, which is the answer; take it out, or name another `target`"
    there = ", ".join(there[:20]) or "none"
    near = nearest(missing[0], _named(fields), 0)
    return f"the template uses `{missing[0]}`, which is not there; {near}fields: {there}"

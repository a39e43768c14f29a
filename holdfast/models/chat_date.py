"""The date that a chat template writes: fixed when a model is loaded, so that midnight changes no prompt."""

import datetime
import string
from functools import partial
from typing import Any

from transformers.utils import chat_template_utils

from holdfast.tasks.bounded_jinja import BoundedEnvironment

CLOCK = "strftime_now"  # the one way in which transformers lets a chat template ask for the date


def today() -> str:
    """Return today's date as YYYY-MM-DD."""
    return datetime.date.today().isoformat()


def writes_date(tokenizer: Any) -> bool:
    """Return True where the tokenizer's chat template asks for the date."""
    return CLOCK in str(getattr(tokenizer, "chat_template", None) or "")


def fix_date(tokenizer: Any, date: str | None) -> None:
    """Let the tokenizer's chat template read `date` (YYYY-MM-DD; None: today) wherever it asks for the date, from now on.

    Nothing of it is saved with the tokenizer.

    Raises:
        ValueError: `date` is not a date.
    """
    # A model's folder is as foreign as a task's: its template gets transformers' own environment, with bounds on time and memory.
    chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment  # pyright: ignore[reportPrivateImportUsage]
    tokenizer.apply_chat_template = partial(_chat, tokenizer, _macro(date or today()))


def _chat(tokenizer: Any, macro: str, conversation: Any, tools: Any = None, **options: Any) -> Any:
    """Apply the chat template with the macro in front, which hides transformers' own function of its name."""
    template = tokenizer.get_chat_template(options.pop("chat_template", None), tools)
    return type(tokenizer).apply_chat_template(
        tokenizer, conversation, tools=tools, chat_template=macro * (CLOCK in template) + template, **options
    )


def _macro(date: str) -> str:
    """Return `strftime_now` as a Jinja macro for one moment, the date's midnight."""
    # transformers hands a template no functions of ours, so every directive is a replacement that is worked out beforehand.
    try:
        moment = datetime.datetime.combine(datetime.date.fromisoformat(str(date)), datetime.time())
    except ValueError:
        raise ValueError(f"date={date!r}: is no date; write it as YYYY-MM-DD") from None
    directives = [f"%{letter}" for letter in string.ascii_letters] + [f"%-{letter}" for letter in string.ascii_letters]
    written = {directive: moment.strftime(directive) for directive in directives}
    # %% is set aside first and put back last, or the `%` of `%%d` would begin a directive.
    replacements = {"%%": "\0", **{key: value for key, value in written.items() if value != key}, "\0": "%"}
    filters = "".join(f"|replace({key!r},{value!r})" for key, value in replacements.items())
    return f"{{%- macro {CLOCK}(format) -%}}{{{{- format{filters} -}}}}{{%- endmacro -%}}"

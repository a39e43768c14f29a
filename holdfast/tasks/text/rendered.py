"""An example as text, with what of it is predicted."""

from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One example as text: the model reads `prompt` and is trained or scored on `target`, which holds the delimiter.

    `end` is what a chat template writes to close an answer; it is trained behind the target and is no part of a scored
    choice. `answers` are the character spans of `prompt` that hold the demonstrations' own targets, delimiter included; `turns` those
    that hold earlier answers of the same conversation, which are trained too. The first `skip` characters of target and end are read
    and not trained.
    """

    prompt: str
    target: str
    end: str = ""
    answers: tuple[Span, ...] = ()
    turns: tuple[Span, ...] = ()
    skip: int = 0

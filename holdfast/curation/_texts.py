"""Examples as running text: what is compared where texts are selected, and what a model reads that goes on with pre-training."""

from dataclasses import replace

from holdfast.tasks.task import DOCUMENT, Example, Template
from holdfast.tasks.text.templates import question

CHARACTERS = 1000  # of a text: a longer one is several, or it would count as one point however much it holds


def text_of(template: Template, example: Example) -> str:
    """Return the question as its template writes it, followed by the answer."""
    asked_by = example.template or template
    return question(asked_by, example) + asked_by.delimiter + example.target


def as_text(template: Template, example: Example) -> Example:
    """Return the example as one running text whose every token is predicted, behind no demonstrations."""
    text = text_of(template, example)
    return replace(
        example, fields={}, target=text, choices=None, answers=None, checks=None, template=DOCUMENT, demonstrations=()
    )


def thousands(text: str) -> list[str]:
    """Return a text cut after each 1,000 characters; an empty one is one piece."""
    return [text[first : first + CHARACTERS] for first in range(0, len(text), CHARACTERS)] or [text]


def in_pieces(example: Example) -> list[Example]:
    """Return an example that names its template as running text, cut into pieces; `origin` of each says which it is."""
    assert example.template is not None
    shown = as_text(example.template, example)
    parts = thousands(shown.target)
    if len(parts) == 1:
        return [shown]
    origins = [f"{shown.origin}, piece {number} of {len(parts)}" for number in range(1, len(parts) + 1)]
    return [replace(shown, target=part, origin=origin) for part, origin in zip(parts, origins, strict=True)]

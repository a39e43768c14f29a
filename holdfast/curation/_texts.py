"""Examples as running text: what is compared where texts are selected, and what a model reads that goes on with pre-training."""

from dataclasses import replace

from holdfast.tasks.task import Example, Template
from holdfast.tasks.templates import question

PLAIN = Template(input="", delimiter="", separator="", stop=())


def text_of(template: Template, example: Example) -> str:
    """Return the question as its template writes it, followed by the answer."""
    asked_by = example.template or template
    return question(asked_by, example) + asked_by.delimiter + example.target


def as_text(template: Template, example: Example) -> Example:
    """Return the example as one running text whose every token is predicted, behind no demonstrations."""
    text = text_of(template, example)
    return replace(
        example, fields={}, target=text, choices=None, answers=None, checks=None, template=PLAIN, demonstrations=()
    )

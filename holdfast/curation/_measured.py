"""Recognise the questions that a run is measured on: what is mixed in, selected or shown must not hold them."""

from collections.abc import Iterator, Sequence

from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.templates import asked_text


def questions(template: Template, example: Example) -> Iterator[str]:
    """Yield the texts by which a question is recognised: as its template writes it, and the contents of its fields alone.

    The contents are the same where another task holds the same row under another template or other names of fields.
    """
    yield asked_text(example.template or template, example)
    if example.fields:
        yield "\x1f".join(sorted(map(str, example.fields.values())))


def measured(tasks: Sequence[Task]) -> Iterator[tuple[str, str]]:
    """Yield every text of `questions`, with its right answer, of the validation and test splits of the tasks."""
    for task in tasks:
        for split in ("validation", "test"):
            for example in task.splits.get(split, ()):
                for text in questions(task.template, example):
                    yield text, example.target

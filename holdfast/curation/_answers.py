"""Prompts of examples for a model that is to answer them, and its answers up to where they stop."""

from collections.abc import Sequence

from holdfast.curation.base import CurationContext
from holdfast.tasks.task import Example
from holdfast.tasks.text.templates import choose_demonstrations, render


def prompts(examples: Sequence[Example], context: CurationContext, shots: int) -> list[str]:
    """Return the prompt of each example behind the first `shots` others, as the task's template writes it for the model."""
    assert context.model is not None
    template, texts = context.task.template, []
    for index, example in enumerate(examples):
        shown = choose_demonstrations(template, examples, shots, mode="first", seed=0, index=index, exclude=example)
        texts.append(render(template, example, shown, context.model.tokenizer).prompt)
    return texts


def before_stop(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string, without space at its ends."""
    return text[: min((i for s in stop if (i := text.find(s)) >= 0), default=len(text))].strip()

"""Questions without content, and what a model says of the choices behind them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from holdfast.evaluation.interaction import PreparedItem
from holdfast.tasks.answers.choice_rules import CONTENT_FREE, without_content, wording
from holdfast.tasks.task import Task
from holdfast.tasks.text.templates import render


def questions_without_content(
    task: Task, items: Sequence[PreparedItem], tokenizer: Any, kept: frozenset[str] | None = None
) -> list[tuple[str, ...]]:
    """Return each item's prompts with a text of `CONTENT_FREE` in the place of its content, behind its own demonstrations.

    Fields that are the same in all of the test split are no content: `kept`, which is worked out where it is not given. Of most tasks all
    items share these prompts; they differ where demonstrations, or the number of listed choices, do.

    Raises:
        ValueError: the template fails without the content.
    """
    kept = wording(task.splits.get("test", ())) if kept is None else kept
    prompts: list[tuple[str, ...]] = []
    for item in items:
        try:
            emptied = [without_content(item.example, word, kept) for word in CONTENT_FREE]
            prompts.append(
                tuple(render(task.template, each, item.demonstrations, tokenizer).prompt for each in emptied)
            )
        except ValueError as error:
            raise ValueError(
                f"{task.name}: calibration asks its template without content, and that fails: {error}; use accuracy"
            ) from None
    return prompts


def prior_of(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the logarithm of each choice's probability without content, [choices], from log-likelihoods [prompts, choices].

    The probabilities of the choices behind one prompt sum to 1; then they are averaged over the prompts.
    """
    logs = np.array(values, dtype=np.float64)
    shares = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    return tuple(float(value) for value in np.logaddexp.reduce(shares, axis=0) - np.log(len(logs)))

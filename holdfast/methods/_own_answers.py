"""Answers of the model as it is now to the questions of a step: the engine of the methods that learn from their own answers."""

from collections.abc import Sequence
from dataclasses import replace

from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.methods.base import Context
from holdfast.row import Row


def answers(rows: Sequence[Row], sampling: Sampling, context: Context) -> list[list[list[int]]]:
    """Return the token ids with which the model answers each row's question behind its prompt: `sampling.samples` of each row.

    The end-of-sequence token is left out.
    """
    written: dict[int, list[list[int]]] = {}
    count = sampling.samples
    for prompt in dict.fromkeys(row.prompt for row in rows):
        numbers = [i for i, row in enumerate(rows) if row.prompt == prompt]
        attached = None if prompt is None else context.model.attached(prompt)
        model = Model(replace(context.pretrained, model=context.model.model), attached)
        new = model.continue_tokens([question(rows[i]) for i in numbers], sampling)
        written |= {i: new[slot * count : (slot + 1) * count] for slot, i in enumerate(numbers)}
    return [written[i] for i in range(len(rows))]


def question(row: Row) -> tuple[int, ...]:
    """Return the tokens before the row's answer: its last run of predicted tokens, for demonstrations may be predicted as well."""
    start = row.labels[-1]
    while start and row.weights[start - 1]:
        start -= 1
    return row.tokens[:start]


def with_answer(row: Row, answer: Sequence[int], weight: float | None = None) -> Row:
    """Return a row's question with another answer, each token of `weight`; without one they weigh 1 together."""
    tokens = question(row)
    weights = (*[0.0] * len(tokens), *[1 / len(answer) if weight is None else weight] * len(answer))
    return replace(row, tokens=(*tokens, *answer), weights=weights)


def closed(row: Row, answer: Sequence[int], limit: int, context: Context, *, stopped: bool = False) -> list[int]:
    """Return an answer with the token that ends the row's own one, where it ended by itself: below the limit, and at no stop string.

    It is cut to the room that the question leaves.
    """
    ends = row.tokens[-1] in context.pretrained.tokenizer.all_special_ids
    whole = [*answer, row.tokens[-1]] if ends and len(answer) < limit and not stopped else list(answer)
    return whole[: room(row, context)]


def room(row: Row, context: Context) -> int:
    """Return the positions that the question and the prompt before it leave."""
    before = 0 if row.prompt is None else context.model.length(row.prompt)
    return max(0, context.pretrained.max_length - len(question(row)) - before)

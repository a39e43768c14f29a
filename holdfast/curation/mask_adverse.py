"""Adverse turns: calls that the tool answers with an error are read and not trained."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation.base import Curation, CurationContext
from holdfast.tasks.task import Example


@dataclass(frozen=True)
class MaskAdverse(Curation):
    """Train no assistant's turn whose tool call failed: it stays as context, from which the model learns how to go on.

    For conversations with tool calls: a turn of which a tool result, up to the next turn of the assistant, fits one of `errors` gets
    the weight 0 in `messages`. The last answer is always trained. Combine it with `+token_weights` by `keys` (the tokens that tell
    one tool from another) and with the reward `tool_call` of `+grpo`, the paper's three parts. It needs no model, and costs nothing.

    Source: Ye et al. 2024, "TL-Training: a task-feature-based framework for training LLMs in tool use" (arXiv 2412.15495), the
    mitigation of adverse examples; the patterns are ours
    """

    errors: str = Field(
        default=(
            r"\berror\b,\bexception\b,\btraceback\b,is not defined,unexpected keyword,missing \d+ required,"
            r"invalid api call,invalid (?:argument|parameter|input),no such (?:tool|function|file|key),not found,permission denied,"
            r"unauthori[sz]ed,timed? ?out,rate limit,bad request"
        ),
        min_length=1,
        description="patterns of a failed call's result, by commas; case does not count",
    )

    def __post_init__(self) -> None:
        for pattern in self._patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"errors: the pattern {pattern!r} is no regular expression: {error}") from None

    @property
    def _patterns(self) -> list[str]:
        return [part.strip() for part in self.errors.split(",") if part.strip()]

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the examples in their order; `origin` of one that lost turns says how many.

        Raises:
            ValueError: no example is a conversation.
        """
        if not any("messages" in example.fields for example in examples):
            raise ValueError(
                f"mask_adverse: {context.task.name} has no conversations; give lines with `messages`, or leave it out"
            )
        failed = re.compile("|".join(self._patterns), re.IGNORECASE)
        return [self._masked(example, failed, context.task.name, i) for i, example in enumerate(examples)]

    def _masked(self, example: Example, failed: re.Pattern[str], task: str, index: int) -> Example:
        messages: Any = example.fields.get("messages", ())
        adverse = adverse_turns(messages, failed)
        if not adverse:
            return example
        marked = tuple({**turn, "weight": "0"} if i in adverse else turn for i, turn in enumerate(messages))
        turns = sum(turn["role"] == "assistant" for turn in messages) + 1
        origin = f"adverse turns masked: {task}/train[{index}], {len(adverse)} of {turns}"
        return replace(example, fields={**example.fields, "messages": marked}, origin=origin)


def adverse_turns(messages: Sequence[Mapping[str, Any]], failed: re.Pattern[str]) -> set[int]:
    """Return the assistant's messages, by index, behind which a tool result fits the pattern before the next of them."""
    adverse: set[int] = set()
    last: int | None = None
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            last = index
        elif message["role"] == "tool" and last is not None and failed.search(str(message["content"])):
            adverse.add(last)
    return adverse

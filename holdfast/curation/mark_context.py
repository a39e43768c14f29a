"""Context-awareness: questions whose answers are taken from the question itself are marked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.curation.base import Curation, CurationContext
from holdfast.inference.model import Model
from holdfast.tasks.task import Example, Template
from holdfast.tasks.text.markers import marked_template, with_marker, with_marker_in_prompt
from holdfast.tasks.text.templates import asked_text, question, render


@dataclass(frozen=True)
class MarkContext(Curation):
    """Put a marker behind the questions whose answers look back at them, so that using the given context becomes something to ask for.

    Fine-tuning on many answers that need no context unlearns to use it; with the marker on those that do, both are kept apart. The
    score of an example is the attention of its answer's tokens to the question's words, of the strongest head of one layer, from 0 to
    1: the mean over the answer. It is read from the model before training, where the paper has another one, tuned for chats. Of a
    conversation the last answer is scored, against all user's turns. Examples above `threshold` (or the `share` with the highest
    scores) are marked, all others stay as they are. The marker is plain text, so that the vocabulary stays. At inference `--decode
    context_marker` puts the same marker behind the question where the answer must come from the context. Long questions have higher
    scores: compare like with like.
    The cost is a forward of each training example in eager attention, whose memory grows with the square of its length.

    Source: Wang et al. 2024, "On the loss of context-awareness in general instruction fine-tuning" (arXiv 2411.02688)
    """

    needs_model: ClassVar[bool] = True
    asks_questions: ClassVar[bool] = True

    marker: str = Field(default="[IND]", min_length=1, description="text behind a marked question")
    threshold: float = Field(
        default=0.6, description="score above which a question is marked; above 1: none, below 0: all"
    )
    share: float | None = Field(
        default=None, ge=0, le=1, description="part of the examples to mark, in the place of a threshold"
    )
    depth: float = Field(
        default=0.67, ge=0, le=1, description="layer whose attention is read, as a part of the model's depth"
    )

    def __post_init__(self) -> None:
        if any(mark in self.marker for mark in ("{{", "{%", "{#")):
            raise ValueError(f"marker={self.marker!r}: would be read as a template; write plain text")

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the examples in their order; `origin` of a marked one says so, with its score.

        Raises:
            ValueError: the model gives texts alone, or has an encoder; or a marked prompt is none that the decoding can write.
        """
        model, template = context.model, context.task.template
        if not isinstance(model, Model) or not model.pretrained.architecture.one_sequence:
            raise ValueError("mark_context reads the attention of a decoder-only transformers model; take one")
        with eager(model.pretrained.model):
            scores = [self.score(model, template, example) for example in examples]
        chosen = {number for number, score in enumerate(scores) if score is not None and score > self.threshold}
        if self.share is not None:
            known = [number for number, score in enumerate(scores) if score is not None]
            ranked = sorted(known, key=lambda number: -(scores[number] or 0.0))
            chosen = set(ranked[: round(self.share * len(scores))])
        marked = list(examples)
        for number in sorted(chosen):
            row = with_mark(examples[number], template, self.marker)
            plain, trained = (render(template, e, (), model.tokenizer).prompt for e in (examples[number], row))
            if with_marker_in_prompt(plain, self.marker, model.tokenizer) != trained:
                raise ValueError(
                    f"mark_context: {context.task.name}/train[{number}]: its prompt goes on behind the user's last turn "
                    f"({trained[-40:]!r}), "
                    'where `--decode context_marker` would put the marker; leave such rows out, or end `input` with "\\nAssistant:"'
                )
            origin = f"marked: {context.task.name}/train[{number}], score {scores[number] or 0.0:.3f}"
            marked[number] = replace(row, origin=origin)
        return marked

    def score(self, model: Model, template: Template, example: Example) -> float | None:
        """Return the mean over the answer's tokens of the strongest head's attention to the user's words.

        None where the example is too long, or where the chat template writes the user's words in another way.
        """
        tokenizer = model.tokenizer
        rendered = render(template, example, (), tokenizer)
        text = rendered.prompt + rendered.target
        # A chat template has written its own beginning; of a plain text it is the tokenizer's to put.
        written = bool(template.chat and getattr(tokenizer, "chat_template", None))
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=not written)
        if len(encoded["input_ids"]) > model.room:
            return None
        spans, words, answer = _user_spans(template, example, rendered.prompt), [], []
        for position, (start, end) in enumerate(encoded["offset_mapping"]):
            if start >= len(rendered.prompt) and end > start:
                answer.append(position)
            # Words of the user alone: no special token, role or line break, which draw attention whatever is asked.
            elif text[start:end].strip() and any(first <= start < end <= last for first, last in spans):
                words.append(position)
        if not words or not answer:
            return None
        attention = _attention(model.pretrained.model, encoded["input_ids"], self.depth)
        return float(attention[:, answer][:, :, words].sum(-1).amax(0).mean().clamp(0, 1))


def with_mark(example: Example, template: Template, marker: str) -> Example:
    """Return the example with the marker behind its question: in its last user turn, or in a template of its own."""
    template = example.template or template
    messages = example.fields.get("messages")
    if template.chat and isinstance(messages, list | tuple):
        turns: list[Any] = [dict(turn) for turn in messages]
        last = max(number for number, turn in enumerate(turns) if turn["role"] == "user")
        turns[last]["content"] = with_marker(turns[last]["content"], marker)
        return replace(example, fields={**example.fields, "messages": turns})
    text = question(template, example)
    marked = replace(example, template=replace(template, input=marked_template(template.input, text, marker)))
    assert question(template, marked) == with_marker(text, marker)
    return marked


def _user_spans(template: Template, example: Example, prompt: str) -> list[tuple[int, int]]:
    """Return where the user's texts stand in a prompt: the question, or each user's turn of a conversation; none where any is absent."""
    messages = example.fields.get("messages")
    turns: list[Any] = [{"role": "user", "content": asked_text(template, example)}]
    if template.chat and isinstance(messages, list | tuple):
        turns = list(messages)
    spans, end = [], len(prompt)
    # From the last to the first, and past the other turns as well: an answer may hold the words of the question before it.
    for turn in reversed(turns):
        # Many templates strip what they write.
        content = turn.get("content")
        text = content.strip() if isinstance(content, str) else ""
        first = prompt.rfind(text, 0, end)
        if first >= 0:
            end = first
        if turn["role"] == "user":
            if first < 0:
                return []
            spans.append((first, first + len(text)))
    return spans


@contextmanager
def eager(model: Any) -> Iterator[None]:
    """Let a model compute its attention in full within the context: other implementations return none."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@torch.no_grad()
def _attention(model: Any, tokens: Sequence[int], depth: float) -> Tensor:
    """Return the attention `[heads, T, T]` of the layer at a part of the model's depth."""
    layers = [m for m in model.modules() if hasattr(m, "layer_idx") and "attention" in type(m).__name__.lower()]
    layer: Any = layers[min(len(layers) - 1, int(depth * len(layers)))]
    seen: list[Tensor] = []
    # Of one layer alone: all of them would take as many times the memory.
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(output[1]))
    try:
        model(torch.tensor([list(tokens)], device=model.device), use_cache=False)
    finally:
        hook.remove()
    return seen[0][0].float()

"""An example as text: the question by its Jinja template, instruction, demonstrations, chat template."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import TemplateError

from holdfast.tasks.jinja import fill
from holdfast.tasks.task import Example, Template

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One example as text: the model reads `prompt` and is trained or scored on `target`, which holds the delimiter.

    `end` is what a chat template writes to close an answer; it is trained behind the target and is no part of a scored
    choice. `answers` are the character spans of `prompt` that hold the demonstrations' own targets, delimiter included.
    """

    prompt: str
    target: str
    end: str = ""
    answers: tuple[Span, ...] = ()


def render(
    template: Template, example: Example, demonstrations: Sequence[Example] = (), tokenizer: Any = None
) -> Rendered:
    """Return the text of `example` behind its demonstrations.

    `tokenizer` is needed only where its chat template is to be applied (`template.chat`).

    Raises:
        ValueError: the template does not fit the example's fields, or a chat template is asked for and cannot serve.
    """
    template = example.template or template
    if template.chat is True and not getattr(tokenizer, "chat_template", None):
        raise ValueError("chat=True, but this tokenizer has no chat template; use chat=False, or an instruct model")
    if template.chat and getattr(tokenizer, "chat_template", None):
        return _chat(template, example, demonstrations, tokenizer)
    prompt = template.instruction and template.instruction + template.separator
    answers: list[Span] = []
    for shown in demonstrations:
        prompt += question(template, shown)
        start = len(prompt)
        prompt += template.delimiter + shown.target
        answers.append((start, len(prompt)))
        prompt += template.separator
    return Rendered(prompt + question(template, example), template.delimiter + example.target, answers=tuple(answers))


def question(template: Template, example: Example) -> str:
    """Return the example's input by `template.input`, or by that of its own template, without its target.

    Raises:
        ValueError: the template uses a field that the example lacks (the nearest is named), prints a null, or fails.
    """
    return fill((example.template or template).input, example.fields)


def behind(template: Template, text: str, demonstrations: Sequence[Example] = (), tokenizer: Any = None) -> str:
    """Return the prompt of a question that is a text already, behind demonstrations: what `render` makes of an example with this question.

    Raises:
        ValueError: as `render`.
    """
    example = Example({"messages": [{"role": "user", "content": text}]}, "")
    if template.chat and getattr(tokenizer, "chat_template", None):
        return render(template, example, demonstrations, tokenizer).prompt
    prompt = template.instruction and template.instruction + template.separator
    for shown in demonstrations:
        prompt += question(template, shown) + template.delimiter + shown.target + template.separator
    return prompt + text


def choose_demonstrations(
    template: Template,
    examples: Sequence[Example],
    k: int,
    *,
    mode: Literal["first", "sampled"],
    seed: int,
    index: int,
    exclude: Example | None,
) -> list[Example]:
    """Return `k` of `examples` (a train split) to show before item `index`, never one that gives the answer of `exclude` away.

    That is an example with its question, as `template` writes it, and an answer that `exclude` accepts: columns that no prompt shows,
    such as an `id`, do not make it another one. Only examples of one task are shown together: `examples` that were mixed in from
    another task are for questions of that task alone (`Example.task`).

    `first` takes the same first k for every item (FTICL, arXiv 2403.09162), the next one standing in where the item is
    itself among them. `sampled` draws without replacement, by `seed` and `index` alone.

    Raises:
        ValueError: there are fewer than k others.
    """
    chosen: list[Example] = []
    order = iter(range(len(examples))) if mode == "first" else _permutation(len(examples), f"{seed}:{index}")
    while len(chosen) < k:
        candidate = next(order, None)
        if candidate is None:
            raise ValueError(
                f"{k} demonstrations are asked for, and the train split has {len(chosen)} to show; "
                "add training examples or ask for fewer shots"
            )
        shown = examples[candidate]
        if shown.task == ("" if exclude is None else exclude.task) and not (
            exclude and _tells(template, shown, exclude)
        ):
            chosen.append(shown)
    return chosen


def _tells(template: Template, shown: Example, item: Example) -> bool:
    """Return True where `shown` as a demonstration is the question of `item` with one of its answers."""
    if shown.target != item.target and shown.target not in item.accepted:  # cheap, and true of most pairs
        return False
    return asked_text(template, shown) == asked_text(template, item)


def asked_text(template: Template, example: Example) -> str:
    """Return the text that a prompt shows of an example without its answer, whether or not a chat template will write it."""
    if template.chat and "messages" in example.fields:
        return json.dumps(_turns(template, example), ensure_ascii=False, default=str)
    return question(template, example)


def _permutation(n: int, seed: str) -> Iterator[int]:
    """Yield 0 to n-1 in random order: a Fisher-Yates shuffle that never builds the list."""
    # A train split may have millions of examples, of which each item draws a few.
    draw, moved = random.Random(seed), {}
    for i in range(n):
        j = draw.randrange(i, n)
        yield moved.get(j, j)
        moved[j] = moved.get(i, i)


def _mark(i: int) -> str:
    """Return the mark for answer `i` while a chat template writes around it, so that its span is known exactly."""
    return f"@@answer-{i}@@"


def _chat(template: Template, example: Example, demonstrations: Sequence[Example], tokenizer: Any) -> Rendered:
    """Render through the tokenizer's chat template."""
    # Marks stand for the answers while it works, because it may strip a message's ends: answers stay exactly what they are.
    messages: list[dict[str, str]] = []
    for i, shown in enumerate(demonstrations):
        turns = _turns(template, shown)
        # Templates accept one system message, in first place: it is the question's.
        messages += [turn for turn in turns if turn["role"] != "system"]
        messages.append({"role": "assistant", "content": _mark(i)})
    question_turns = _turns(template, example)
    if question_turns[0]["role"] == "system":  # templates accept a system message in first place only
        messages.insert(0, question_turns.pop(0))
    messages += question_turns
    if template.instruction:
        first = next((turn for turn in messages if turn["role"] == "user"), messages[0])
        first["content"] = template.instruction + template.separator + first["content"]
    last = _mark(len(demonstrations))
    try:
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": last}], tokenize=False)
    except TemplateError as error:
        raise ValueError(f"this tokenizer's chat template refuses the conversation: {error}") from None
    before, mark, end = whole.removeprefix(prompt).partition(last)
    # Otherwise the tokens that are trained would not be those that the model is asked to continue with.
    if not whole.startswith(prompt) or not mark:
        raise ValueError(
            "this tokenizer's chat template does not continue its own generation prompt with the answer, so the two "
            "cannot be told apart; use chat=False"
        )
    text, answers = _fill(prompt, [shown.target for shown in demonstrations])
    # Behind the end token many templates write a newline, which a generated answer never gets to.
    return Rendered(text, before + example.target, end.rstrip(), answers)


def _turns(template: Template, example: Example) -> list[dict[str, str]]:
    """Return the conversation that asks for the example's target."""
    conversation = example.fields.get("messages")
    # Copies, because the instruction is written into the first of them.
    if isinstance(conversation, list | tuple):
        return [dict(turn) for turn in conversation]
    return [{"role": "user", "content": question(template, example)}]


def _fill(text: str, targets: Sequence[str]) -> tuple[str, tuple[Span, ...]]:
    """Return `text` with every mark replaced by its target, and the spans at which the targets then stand."""
    filled, spans, past = "", [], 0
    for match in re.finditer(r"@@answer-(\d+)@@", text):
        filled += text[past : match.start()]
        target = targets[int(match[1])]
        spans.append((len(filled), len(filled) + len(target)))
        filled, past = filled + target, match.end()
    return filled + text[past:], tuple(spans)

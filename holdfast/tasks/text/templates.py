"""An example as text: the question by its Jinja template, instruction, demonstrations, chat template."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from holdfast.tasks.formats.conversation import assistant_turn
from holdfast.tasks.jinja import fill
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.chat import call_begin, render_chat
from holdfast.tasks.text.rendered import Rendered, Span

CHECKED = 200  # Examples of a split, evenly spaced, that are written to find out whether a chat template can serve.


def render(
    template: Template,
    example: Example,
    demonstrations: Sequence[Example] = (),
    tokenizer: Any = None,
    *,
    name: str = "",
) -> Rendered:
    """Return the text of `example` behind its demonstrations.

    `tokenizer` is needed only where its chat template is to be applied (`template.chat`). `name` says where the example comes from, in
    messages about a chat template that fails.

    Raises:
        ValueError: the template does not fit the example's fields, or a chat template is asked for and cannot serve.
    """
    template = example.template or template
    if template.chat is True and not getattr(tokenizer, "chat_template", None):
        raise ValueError("chat=True, but this tokenizer has no chat template; use chat=False, or an instruct model")
    if template.chat and getattr(tokenizer, "chat_template", None):
        try:
            return render_chat(template, example, demonstrations, tokenizer, lambda shown: _turns(template, shown))
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name else str(error)) from None
    if "messages" in example.fields and "tools" in example.fields and "tools" not in template.input:
        raise ValueError(
            "this tokenizer has no chat template, and the `tools` of the conversation would be left out; write them by `input` in task.yaml"
        )
    prompt = template.instruction and template.instruction + template.separator
    answers: list[Span] = []
    for shown in demonstrations:
        prompt += question(template, shown)
        start = len(prompt)
        prompt += template.delimiter + shown.target
        answers.append((start, len(prompt)))
        prompt += template.separator
    begin, target = len(prompt), template.delimiter + example.target
    prompt += question(template, example)
    turns = () if template.loss == "last" else _earlier_answers(template, example, prompt, begin)
    skip = call_begin(target, assistant_turn(example.target)) if template.loss == "call" else 0
    return Rendered(prompt, target, answers=tuple(answers), turns=turns, skip=skip)


def check_chat(task: Task, tokenizer: Any) -> None:
    """Write some of a task's examples through the chat template, so that one that cannot serve is refused before a model is loaded.

    Raises:
        ValueError: as `render`; with the name of the example.
    """
    for split, examples in task.splits.items():
        for index in range(0, len(examples), len(examples) // CHECKED + 1):
            render(task.template, examples[index], (), tokenizer, name=f"{task.name}/{split}[{index}]")


def question(template: Template, example: Example) -> str:
    """Return the example's input by `template.input`, or by that of its own template, without its target.

    Raises:
        ValueError: the template uses a field that the example lacks (the nearest is named), prints a null, or fails.
    """
    return fill((example.template or template).input, example.fields)


def prompt_for_text(
    template: Template, text: str, demonstrations: Sequence[Example] = (), tokenizer: Any = None
) -> str:
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


class Ranking(Protocol):
    """An order of a pool of examples in which they come into question as demonstrations of an item."""

    def ranked(self, item: Example) -> Iterable[int]:
        """Return numbers of the pool's examples, the best first."""
        ...


def choose_demonstrations(
    template: Template,
    examples: Sequence[Example],
    k: int,
    *,
    mode: str | Ranking,
    seed: int,
    index: int,
    exclude: Example | None,
) -> list[Example]:
    """Return `k` of `examples` (a train split) to show before item `index`, never one that gives the answer of `exclude` away.

    That is an example with its question, as `template` writes it, and an answer that `exclude` accepts: columns that no prompt shows,
    such as an `id`, do not make it another one. Only examples of one task are shown together: `examples` that were mixed in from
    another task are for questions of that task alone (`Example.task`).

    `first` takes the same first k for every item (FTICL, arXiv 2403.09162), the next one standing in where the item is
    itself among them. `sampled` draws without replacement, by `seed` and `index` alone. A ranking takes its best, and the best stands
    last, beside the question.

    Raises:
        ValueError: there are fewer than k others.
    """
    chosen: list[Example] = []
    if not isinstance(mode, str):
        order = iter(mode.ranked(exclude) if exclude and k else ())
    else:
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
    return chosen if isinstance(mode, str) else chosen[::-1]


def _tells(template: Template, shown: Example, item: Example) -> bool:
    """Return True where `shown` as a demonstration is the question of `item` with one of its answers."""
    if shown.target != item.target and shown.target not in item.accepted:  # cheap, and true of most pairs
        return False
    return asked_text(template, shown) == asked_text(template, item)


def asked_text(template: Template, example: Example) -> str:
    """Return the text that a prompt shows of an example without its answer, whether or not a chat template will write it; of a document,
    which is read and predicted at once, that document."""
    if template.asks_nothing:
        return example.target
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


def _turns(template: Template, example: Example) -> list[dict[str, str]]:
    """Return the conversation that asks for the example's target."""
    conversation = example.fields.get("messages")
    # Copies, because the instruction is written into the first of them.
    if isinstance(conversation, list | tuple):
        return [dict(turn) for turn in conversation]
    return [{"role": "user", "content": question(template, example)}]


def _earlier_answers(template: Template, example: Example, prompt: str, begin: int) -> tuple[Span, ...]:
    """Return the spans of `prompt` that hold the assistant's earlier messages, in a conversation that is written as plain text.

    Raises:
        ValueError: the template writes a message otherwise once others follow it.
    """
    conversation = example.fields.get("messages")
    turns = conversation if isinstance(conversation, list | tuple) else ()
    spans: list[Span] = []
    for index, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        before = fill(template.input, {**example.fields, "messages": turns[:index]})
        answer = template.delimiter + turn["content"]
        if not prompt[begin:].startswith(before + answer):
            raise ValueError(
                "`input` of task.yaml writes an answer otherwise once the conversation goes on, so it cannot be told from the rest; say "
                "`loss: last`"
            )
        parts = assistant_turn(turn["content"])
        if turn.get("weight") != "0" and (template.loss == "all" or parts.calls):
            first = begin + len(before)
            skip = call_begin(answer, parts) if template.loss == "call" else 0
            spans.append((first + skip, first + len(answer)))
    return tuple(spans)

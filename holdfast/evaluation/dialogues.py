"""Follow a model through dialogues: its own calls build up the state, and stand in its prompts from then on."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import Any

from holdfast.evaluation.interaction import Interaction, PreparedItem
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.tasks.formats.conversation import AssistantTurn, calls_in, until_calls_end, without_thinking
from holdfast.tasks.formats.dialogue_states import State, after_calls, write_states
from holdfast.tasks.formats.dialogues import Function, conversation
from holdfast.tasks.task import Example, Task
from holdfast.tasks.text.templates import Rendered, render

ROOM = 1.5  # new tokens, over those of the longest state of the data
AROUND = 32  # new tokens beside it, for the name of the function and what stands around a call
NAME = re.compile(r'"name"\s*:\s*"([^"]+)"')


@dataclass
class _Talk:
    """A dialogue while it is followed."""

    item: PreparedItem
    states: list[State] = field(default_factory=list)
    readable: list[bool] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    @property
    def turns(self) -> Sequence[Any]:
        turns: Any = self.item.example.fields["turns"]
        return turns

    @property
    def functions(self) -> Sequence[Function]:
        functions: Any = self.item.example.fields["functions"]
        return functions

    def take_turn(self, answer: str, calls: Sequence[tuple[str, Any]]) -> None:
        """Go on with the state that an answer's calls make of the last one."""
        state, readable = after_calls(self.states[-1] if self.states else {}, calls, self.functions)
        self.states.append(state)
        self.readable.append(readable and (bool(calls) or not _begins_call(answer)))
        self.written.append(answer.strip())


def track(
    model: LanguageModel, task: Task, items: Sequence[PreparedItem], num_beams: int, max_new_tokens: int | None
) -> list[Interaction]:
    """Ask for the calls of every turn, each turn of all dialogues together, and return the states that they make, by turn.

    A prompt holds the user's messages and the given replies, and of calls the model's own: those that changed the state, with all that it
    knew by then. In two steps it is asked first with all functions in view, and of its answer the functions' names are taken; then for
    each of these with that one alone in view, from `"arguments":` on. An answer without a call changes nothing; a call that cannot be
    read, or of no function of the schema, leaves the state as it is and is marked. The prompt that is returned has the right calls: the
    items of two models are compared by it, and each model's own calls are in what it wrote.

    Raises:
        ValueError: an example is no dialogue.
    """
    if bad := [item.name for item in items if "turns" not in item.example.fields]:
        raise ValueError(f"{bad[0]}: joint_goal_accuracy needs dialogues: lines with `turns`, and their schema")
    talks = [_Talk(item) for item in items]
    new = max_new_tokens or _longest_call(model, talks)
    sampling = Sampling(max_new_tokens=new, stop=(*task.template.stop, "</tool_call>"), num_beams=num_beams)
    for number in range(max(len(talk.turns) for talk in talks)):
        _ask_turn(model, task, [talk for talk in talks if number < len(talk.turns)], sampling)
    return [
        Interaction(
            _render(model, task, talk, right[:-1], talk.functions),
            write_states(talk.states, talk.readable),
            write_states(right),
            "\n".join(talk.written),
            new,
        )
        for talk, right in ((talk, [turn["state"] for turn in talk.turns]) for talk in talks)
    ]


def _ask_turn(model: LanguageModel, task: Task, talks: Sequence[_Talk], sampling: Sampling) -> None:
    """Ask for the calls of one turn of every dialogue, in two steps where its items say so, and let the dialogues take them."""
    prompts = [_render(model, task, talk, talk.states, talk.functions).prompt for talk in talks]
    answers = model.generate(prompts, replace(sampling, stop=task.template.stop))
    ended = [until_calls_end(without_thinking(answer)) for answer in answers]
    calls = [calls_in(answer) for answer in ended]
    twice = [i for i, talk in enumerate(talks) if talk.item.example.fields["call_steps"] == 2]
    named = [_named(talks[i], ended[i]) for i in twice]
    pairs = [*chain.from_iterable(product([i], functions) for i, functions in zip(twice, named, strict=True))]
    forced = [_forced(model, task, talks[i], function) for i, function in pairs]
    arguments = model.generate([prompt + begun for prompt, begun in forced], sampling) if forced else []
    for i, functions in zip(twice, named, strict=True):
        calls[i] = [] if functions else calls[i]
    for (i, function), (_, begun), text in zip(pairs, forced, arguments, strict=True):
        calls[i] += calls_in(begun + text)[:1] or [(function["name"], None)]
        answers[i] += f"\n=> {begun}{text}"
    for talk, answer, made in zip(talks, answers, calls, strict=True):
        talk.take_turn(answer, made)


def _begins_call(answer: str) -> bool:
    # Code or a text with braces in it is no call.
    return "<tool_call>" in answer or answer.lstrip().startswith("{")


def _named(talk: _Talk, answer: str) -> list[Function]:
    """Return the functions that an answer of the first step names, even where the rest of the call cannot be read."""
    names = set(NAME.findall(answer))
    return [function for function in talk.functions if function["name"] in names]


def _render(
    model: LanguageModel,
    task: Task,
    talk: _Talk,
    states: Sequence[State],
    functions: Sequence[Function],
    target: str = "",
) -> Rendered:
    """Return the prompt of the turn that follows these states, with these functions in view."""
    fields, _ = conversation(talk.turns[: len(states) + 1], states, functions, ask=True)
    # Only a prompt is wanted: the spans that training weighs need not be told apart.
    template = replace(talk.item.example.template or task.template, loss="last")
    example = Example({**talk.item.example.fields, **fields}, target, template=template)
    return render(task.template, example, talk.item.demonstrations, model.tokenizer, name=talk.item.name)


def _forced(model: LanguageModel, task: Task, talk: _Talk, function: Function) -> tuple[str, str]:
    """Return the prompt that shows one function alone, and the beginning of a call of it, up to where its arguments begin."""
    name = function["name"]
    call = AssistantTurn("", None, ({"name": name, "arguments": {}},)).text
    rendered = _render(model, task, talk, talk.states, [function], call)
    before, _, after = rendered.target.partition(name)
    return rendered.prompt, before + name + after.partition("{}")[0].rstrip()


def _longest_call(model: LanguageModel, talks: Sequence[_Talk]) -> int:
    """Return the most new tokens: by the longest state of the dialogues, at most half the model's positions."""
    turns = chain.from_iterable(talk.turns for talk in talks)
    states = [json.dumps(turn["state"], ensure_ascii=False) for turn in turns]
    longest = max(model.count_tokens(sorted(states, key=len)[-16:]))
    return min(math.ceil(ROOM * longest) + AROUND, model.room // 2)

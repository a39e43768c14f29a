"""Dialogues whose state is tracked by function calls: turns and their states as a conversation that calls functions.

Source: Li et al. 2024, "Large language models as zero-shot dialogue state tracker through function calling" (FnCTOD)
"""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from holdfast.tasks.error_list import nearest
from holdfast.tasks.formats.conversation import read_conversation
from holdfast.tasks.formats.dialogue_schema import NO_SCHEMA, Function, function_of, validated, without_service
from holdfast.tasks.formats.dialogue_states import State, merged
from holdfast.tasks.formats.records import json_type, json_value
from holdfast.tasks.task import Example

INSTRUCTION = (
    "You help users and keep track of what they want. When a message changes what the user wants, first call the function of that domain "
    'with every value known so far, as <tool_call>{"name": ..., "arguments": {...}}</tool_call>. The functions:'
)
TOOL_ANSWER = "recorded"


def to_dialogue(values: Mapping[str, Any], call_steps: int) -> Example:
    """Return a line with `turns` as the conversation that is trained: each turn that changes the state calls functions.

    With two steps it shows the functions that it calls, as the second step of an evaluation shows the called one alone; else all.

    Raises:
        ValueError: there is no schema, or a turn has no text or no state; or it names what the schema lacks.
    """
    described = values.get("functions")
    if not isinstance(described, list) or not described:
        raise ValueError(NO_SCHEMA)
    functions = [function_of(function) for function in described]
    turns = read_turns(values["turns"], functions)
    called = set(chain.from_iterable(turn["state"] for turn in turns))
    shown = functions if call_steps == 1 or not called else [f for f in functions if f["name"] in called]
    states = [turn["state"] for turn in turns]
    fields, target = conversation(turns, states, shown)
    rest = {key: value for key, value in values.items() if key not in ("turns", "functions", "messages")}
    more = {"turns": tuple(turns), "functions": tuple(functions), "call_steps": call_steps}
    return Example({**rest, **fields, **more}, target)


def conversation(
    turns: Sequence[Mapping[str, Any]], states: Sequence[State], functions: Sequence[Function], *, ask: bool = False
) -> tuple[dict[str, object], str]:
    """Return the messages of turns whose states came to be `states`, and the last one; with `ask` up to the user's last message.

    A turn that changes the state of one of the functions calls it with all of its values, before the reply.
    """
    names = {function["name"] for function in functions}
    described = [
        json.dumps({key: f[key] for key in ("name", "description", "parameters")}, ensure_ascii=False)
        for f in functions
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": "\n".join([INSTRUCTION, *described])}]
    before: State = {}
    calls = 0
    for number, turn in enumerate(turns):
        messages.append({"role": "user", "content": turn["user"]})
        if ask and number == len(turns) - 1:
            messages.append({"role": "assistant", "content": TOOL_ANSWER})
            break
        after = {name: slots for name, slots in states[number].items() if name in names}
        changed = [name for name in after if after[name] != before.get(name)]
        if changed:
            made = [
                {"id": str(calls + i), "function": {"name": name, "arguments": _first_values(after[name])}}
                for i, name in enumerate(changed)
            ]
            messages.append({"role": "assistant", "content": "", "tool_calls": made})
            for call in made if turn["system"] else ():
                result = {"tool_call_id": call["id"], "name": call["function"]["name"], "content": TOOL_ANSWER}
                messages.append({"role": "tool", **result})
            calls += len(made)
        if turn["system"]:
            messages.append({"role": "assistant", "content": turn["system"]})
        before = after
    return read_conversation({"messages": messages}, None, None)


def read_turns(turns: object, functions: Sequence[Function]) -> list[dict[str, Any]]:
    """Return turns as `user`, `system` and `state` (by function and slot), from our format or from that of MultiWOZ 2.2 and SGD.

    Raises:
        ValueError: as `to_dialogue`.
    """
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError('`turns` is no list of turns; write [{"user": ..., "state": {...}, "system": ...}, ...]')
    pairs = _paired(turns) if "speaker" in turns[0] else turns
    if not pairs:
        raise ValueError("no turn is the user's, so there is nothing to track; write what the user says")
    read: list[dict[str, Any]] = []
    for number, turn in enumerate(pairs, 1):
        last = number == len(pairs)
        for key in ("user",) if last else ("user", "system"):
            if not isinstance(turn.get(key), str) or not turn[key].strip():
                raise ValueError(f"turn {number} has no text in `{key}`; only the last turn's `system` may be left out")
        state = turn.get("state")
        if isinstance(state, str):
            try:
                state = json_value(state)
            except ValueError as error:
                raise ValueError(f"the `state` of turn {number} is not JSON ({error})") from None
        if not isinstance(state, dict):
            raise ValueError(
                f"turn {number} has no `state`; write all that the user wants by then, {{}} where that is nothing"
            )
        read.append(
            {"user": turn["user"], "system": turn.get("system") or "", "state": _state(number, state, functions)}
        )
    if not read[-1]["system"] and read[-1]["state"] == (read[-2]["state"] if len(read) > 1 else {}):
        raise ValueError(f"turn {len(read)} has no reply and changes nothing; write its `system`, or leave it out")
    return read


def _state(number: int, state: Mapping[str, Any], functions: Sequence[Function]) -> State:
    """Return a turn's state by function and slot, without what is empty; unknown names are refused."""
    by_service = {f["name"]: f for f in functions} | {f.get("service", f["name"]): f for f in functions}
    read: State = {}
    for service, slots in state.items():
        if service not in by_service:
            raise ValueError(f"turn {number}: `{service}` is no service of the schema; {nearest(service, by_service)}")
        if not isinstance(slots, dict):
            raise ValueError(
                f"turn {number}: the state of `{service}` is {json_type(slots)}; write its slots and values"
            )
        function = by_service[service]
        known, values = function["parameters"]["properties"], {}
        for slot, value in slots.items():
            short = without_service(slot, service)
            if short not in known:
                raise ValueError(f"turn {number}: `{service}` has no slot `{slot}`; {nearest(short, known)}")
            if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value)):
                raise ValueError(
                    f"turn {number}: `{slot}` of `{service}` is {json_type(value)}; write a value, or a list of them"
                )
            values[short] = value
        read = merged(read, {function["name"]: values})
    return read


def _first_values(slots: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a call is trained with: of several that count as right, the first."""
    return {slot: value[0] if isinstance(value, list) else value for slot, value in slots.items()}


@checked(config=ConfigDict(extra="ignore"))
class FrameState:
    """The values of one service's slots, each a list of what counts as right."""

    slot_values: dict[str, Any] = Field(default_factory=dict)


@checked(config=ConfigDict(extra="ignore"))
class Frame:
    """A service in a turn, and its state where the turn is a user's."""

    service: str
    state: FrameState | None = None


@checked(config=ConfigDict(extra="ignore"))
class SpokenTurn:
    """A turn of one speaker, as MultiWOZ 2.2 and SGD have them."""

    speaker: Literal["USER", "SYSTEM"]
    utterance: str
    frames: list[Frame] | None = None


def _paired(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return turns of one speaker each as turns of both; frames name only the services at hand, so earlier ones are kept."""
    pairs: list[dict[str, Any]] = []
    state: dict[str, Any] = {}
    for number, turn in enumerate(turns, 1):
        try:
            spoken = validated(SpokenTurn, turn)
        except ValueError as error:
            raise ValueError(f"turn {number}: {error}") from None
        if spoken.speaker == "USER":
            for frame in spoken.frames or ():
                if frame.state is not None:
                    state = {**state, frame.service: frame.state.slot_values}
            pairs.append({"user": spoken.utterance, "state": state})
        elif pairs:
            pairs[-1]["system"] = spoken.utterance
    return pairs

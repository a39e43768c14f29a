"""Conversations in the format of ShareGPT: `conversations`, each turn with `from` and `value`."""

from collections.abc import Mapping
from typing import Any

from holdfast.tasks.error_list import nearest
from holdfast.tasks.formats.records import json_type, json_value

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}
CALL = "function_call"  # the assistant's, with the call as JSON in its value


def from_sharegpt(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line with `messages` in the place of `conversations`; a `system` text of the line is the first message.

    Raises:
        ValueError: what is wrong with which turn, and what to do.
    """
    turns = values["conversations"]
    if not isinstance(turns, list):
        raise ValueError(f"`conversations` is {json_type(turns)}; write a list of turns with `from` and `value`")
    messages = [_message(number, turn) for number, turn in enumerate(turns, 1)]
    if isinstance(values.get("system"), str) and values["system"].strip():
        messages.insert(0, {"role": "system", "content": values["system"]})
    others = {key: value for key, value in values.items() if key not in ("conversations", "system")}
    # Some data sets hold the tools as JSON text.
    if isinstance(others.get("tools"), str):
        try:
            others["tools"] = json_value(others["tools"] or "[]")
        except ValueError as error:
            raise ValueError(f"`tools` is no JSON ({error}); write a list of tools") from None
    return others | {"messages": messages}


def _message(number: int, turn: object) -> dict[str, Any]:
    if not isinstance(turn, dict) or not isinstance(turn.get("from"), str) or "value" not in turn:
        raise ValueError(f'turn {number} has no `from` and `value`; write {{"from": "human", "value": ...}}')
    sender, text = turn["from"], turn["value"]
    if sender == CALL:
        try:
            calls = json_value(text)
        except (ValueError, TypeError):
            raise ValueError(f"turn {number}: the function call is no JSON; write its name and arguments") from None
        return {"role": "assistant", "content": "", "tool_calls": calls if isinstance(calls, list) else [calls]}
    if sender not in ROLES:
        names = [*ROLES, CALL]
        raise ValueError(f"turn {number} is from `{sender}`; {nearest(sender, names)}senders: {', '.join(names)}")
    return {"role": ROLES[sender], "content": text}

"""Conversations as data have them: roles, tool calls, tool results, `<think>` blocks. Read, checked, and written in one form.

In that form every message's `content` is text. A block of thinking stands before an assistant's text, and tool calls behind it, each as
`<tool_call>` and its JSON; `assistant_turn` takes them out again for a chat template that writes them its own way.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.tasks.error_list import nearest
from holdfast.tasks.formats.records import json_type, json_value

ROLES = ("system", "developer", "user", "assistant", "tool")
REASONING = ("reasoning_content", "thinking", "reasoning")
THINKING = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
CALLS = re.compile(r"(?:\s*<tool_call>\s*\{.*?\}\s*</tool_call>)+\s*$", re.DOTALL)
CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
FIRST_CALLS = re.compile(r"<tool_call>.*?</tool_call>(?:\s*<tool_call>.*?</tool_call>)*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """The parts of an assistant's message: its text, the thinking before it (None: no block), and the tools that it calls."""

    content: str
    thinking: str | None = None
    calls: tuple[Mapping[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """Return the message as one text."""
        before = "" if self.thinking is None else f"<think>\n{self.thinking}\n</think>\n\n"
        lines = [
            f"<tool_call>\n{json.dumps(dict(call), ensure_ascii=False, default=str)}\n</tool_call>"
            for call in self.calls
        ]
        return before + "\n".join([self.content] * bool(self.content) + lines)


def assistant_turn(text: str) -> AssistantTurn:
    """Return the parts of an assistant's text. Blocks that are no JSON calls stay text."""
    thinking = THINKING.match(text)
    content = text[thinking.end() :] if thinking else text
    calls: tuple[Mapping[str, Any], ...] = ()
    if behind_text := CALLS.search(content):
        try:
            parsed = tuple(json_value(match) for match in CALL.findall(behind_text[0]))
        except ValueError:
            parsed = ()
        if parsed and all({"name", "arguments"} <= call.keys() for call in parsed):
            calls, content = parsed, content[: behind_text.start()]
    return AssistantTurn(content, thinking[1].strip("\n") if thinking else None, calls)


def without_thinking(text: str) -> str:
    """Return an answer without the thinking before it; nothing is left of a block that was not closed.

    A chat template may open the block itself, so that the answer only closes it.
    """
    if "</think>" in text:
        return text.rpartition("</think>")[2].lstrip()
    return "" if text.lstrip().startswith("<think>") else text


def until_calls_end(text: str) -> str:
    """Return an answer up to the end of its `<tool_call>` blocks: of the first, and of those that follow it without a word between.

    There the turn is the tool's. A model that learned its calls in the middle of plain text was never shown an end there, and goes on;
    a chat template has an end of its own. A text without a whole block is returned as it is.
    """
    calls = FIRST_CALLS.search(text)
    return text[: calls.end()] if calls else text


def calls_in(text: str) -> list[tuple[str, Any]]:
    """Return the tools that a text calls, with their arguments: every JSON object in it that has a name and arguments (or parameters)."""
    decoder, calls, position = json.JSONDecoder(), [], text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            value, end = None, position + 1
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            for key in ("arguments", "parameters"):
                if key in value:
                    calls.append((value["name"], value[key]))
                    break
        position = text.find("{", end)
    return calls


def read_conversation(values: Mapping[str, Any], think: str | None, loss: str | None) -> tuple[dict[str, object], str]:
    """Return the fields of an example, `messages` and perhaps `tools`, and its target: the last message, which is the assistant's.

    Args:
        values: A line with `messages`.
        think: The setting of the same name: `keep`, `drop` or `require` the blocks of the assistant's messages.
        loss: The setting of the same name.

    Raises:
        ValueError: what is wrong with which message, and what to do.
    """
    messages = values["messages"]
    if messages == []:
        raise ValueError(
            "`messages` is an empty conversation; write a question and the assistant's answer, or remove the line"
        )
    if not isinstance(messages, list) or len(messages) < 2:
        raise ValueError("`messages` is no list of at least two messages; write a question and the assistant's answer")
    roles = [_role(number, message) for number, message in enumerate(messages, 1)]
    if "assistant" not in roles:
        raise ValueError(
            "no message is the assistant's, so there is nothing to learn; add the answer, or remove the line"
        )
    if roles[-1] != "assistant":
        raise ValueError(f"the last message is from `{roles[-1]}`; end with the assistant's, which is the target")
    ids: dict[str, str] = {}
    turns = [_turn(number, message, ids) for number, message in enumerate(messages, 1)]
    if "weight" in turns[-1]:
        raise ValueError("the last message is the target and has weight 0; leave it out, or remove the line")
    assistant = [number for number, role in enumerate(roles, 1) if role == "assistant"]
    for number in assistant:
        turn = assistant_turn(turns[number - 1]["content"])
        if think == "drop" and turn.thinking is not None:
            turns[number - 1]["content"] = AssistantTurn(turn.content, None, turn.calls).text
        trained = {"last": number == len(turns), "call": bool(turn.calls)}.get(loss or "all", True)
        if think == "require" and trained and not turn.thinking:
            raise ValueError(
                f"message {number} has no `<think>` block, which `think: require` asks for; add it, or say `think: keep`"
            )
    if loss == "call" and not any(assistant_turn(turns[number - 1]["content"]).calls for number in assistant):
        raise ValueError(
            "no message calls a tool, so `loss: call` has nothing to learn; say `loss: all`, or remove the line"
        )
    fields: dict[str, object] = {"messages": tuple(turns[:-1])}
    if tools := _tools(values.get("tools")):
        fields["tools"] = tools
    return fields, turns[-1]["content"]


def _role(number: int, message: object) -> str:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError(f'message {number} has no `role`; write {{"role": ..., "content": ...}}')
    role = message["role"]
    if role not in ROLES:
        raise ValueError(f"message {number} is from `{role}`; {nearest(role, ROLES)}roles: {', '.join(ROLES)}")
    return role


def _turn(number: int, message: Mapping[str, Any], ids: dict[str, str]) -> dict[str, str]:
    """Return a message with its content as text; `ids` collects those of tool calls, as data name them and as templates see them."""
    role = message["role"]
    calls = message.get("tool_calls") or []
    if calls and role != "assistant":
        raise ValueError(f"message {number} has `tool_calls` and is from `{role}`; only the assistant calls tools")
    content = _content(number, message.get("content"), empty=bool(calls))
    turn = {"role": role, "content": content}
    if role == "assistant":
        thinking = next((message[key] for key in REASONING if isinstance(message.get(key), str)), None)
        if not isinstance(calls, list):
            raise ValueError(f"message {number}: `tool_calls` is {json_type(calls)}; write a list")
        if calls or thinking is not None:
            parsed = tuple(_call(number, call, ids) for call in calls)
            turn["content"] = AssistantTurn(content, thinking and thinking.strip("\n"), parsed).text
        if not turn["content"].strip():
            raise ValueError(
                f"`content` of message {number} is empty, so there is nothing to learn; fill it, or remove the line"
            )
    if role == "assistant" and (weight := message.get("weight", 1)) != 1:
        if weight != 0:
            raise ValueError(
                f"message {number}: `weight` is {weight!r}; write 0 for a message that is read and not trained, or 1"
            )
        turn["weight"] = "0"
    if role == "tool":
        if isinstance(message.get("name"), str):
            turn["name"] = message["name"]
        # Some templates take ids of nine characters and no others, so that calls are numbered through (`call_id`).
        if (known := ids.get(str(message.get("tool_call_id")))) is not None:
            turn["tool_call_id"] = known
    return turn


def call_id(number: int) -> str:
    """Return the id of the conversation's tool call of this number, counted from 0."""
    return f"{number:09d}"


def _content(number: int, value: object, *, empty: bool) -> str:
    """Return a message's content as text: as it is, or the text of its parts."""
    if value is None and empty:
        return ""
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in value]
        if not all(isinstance(part, str) for part in parts):
            raise ValueError(f"message {number} has a part that is no text; only text can be trained on")
        return "".join(str(part) for part in parts)
    if not isinstance(value, str):
        raise ValueError(f"`messages[{number - 1}].content` is {json_type(value)}, not text; write text")
    return value


def _call(number: int, call: object, ids: dict[str, str]) -> Mapping[str, Any]:
    """Return a tool call as its name and arguments."""
    function = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError(
            f'message {number}: a tool call has no name; write {{"function": {{"name": ..., "arguments": {{...}}}}}}'
        )
    name, arguments = function["name"], function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _parsed(
            arguments or "{}", f"message {number}: the arguments of the tool call `{name}` are", "an object"
        )
    if not isinstance(arguments, dict):
        raise ValueError(
            f"message {number}: the arguments of the tool call `{name}` are {json_type(arguments)}; write an object with named values"
        )
    identity = call.get("id") if isinstance(call, dict) else None
    ids[str(identity) if isinstance(identity, str) else f"\0{len(ids)}"] = call_id(len(ids))
    return {"name": name, "arguments": arguments}


def _tools(value: object) -> list[Mapping[str, Any]]:
    """Return the tools of a line: a list of schemas, or its JSON as text."""
    if isinstance(value, str):
        value = _parsed(value or "[]", "`tools` is", "a list of schemas")
    if value is None:
        return []
    if not isinstance(value, Sequence) or not all(isinstance(tool, dict) for tool in value):
        raise ValueError(f"`tools` is {json_type(value)}; write a list of schemas, each an object")
    return list(value)


def _parsed(text: str, subject: str, wanted: str) -> Any:
    """Return a text's JSON, of which `subject` begins the message where it is none."""
    try:
        return json_value(text)
    except ValueError as error:
        raise ValueError(f"{subject} not JSON ({error}); write {wanted}") from None

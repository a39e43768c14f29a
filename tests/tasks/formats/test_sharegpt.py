"""Lines with `conversations` are the same examples as those with `messages`."""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.tasks.sources import load_task

CALL = {"name": "weather", "arguments": {"city": "Rome"}}
TURNS = [
    {"from": "human", "value": "Weather?"},
    {"from": "function_call", "value": json.dumps(CALL)},
    {"from": "observation", "value": '{"t": 12}'},
    {"from": "gpt", "value": "12 degrees."},
]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": CALL}]},
    {"role": "tool", "content": '{"t": 12}'},
    {"role": "assistant", "content": "12 degrees."},
]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def task(path: Path, **line: Any):
    text = json.dumps(line)
    path.write_text("".join(text.replace("Weather?", f"Weather {i}?") + "\n" for i in range(10)))
    return load_task(str(path))


def test_a_conversation_of_sharegpt_is_the_example_of_its_messages(tmp_path: Path) -> None:
    shared = task(tmp_path / "a.jsonl", conversations=TURNS, system="Be brief.", tools=json.dumps(TOOLS))
    plain = task(tmp_path / "b.jsonl", messages=MESSAGES, tools=TOOLS)
    assert shared.splits == plain.splits
    assert shared.template == plain.template


@pytest.mark.parametrize(
    ("conversations", "message"),
    [
        ("text", "`conversations` is text; write a list of turns"),
        ([{"role": "user", "content": "x"}], "turn 1 has no `from` and `value`"),
        ([{"from": "humna", "value": "x"}], r"turn 1 is from `humna`; did you mean `human`\?"),
        ([TURNS[0], {"from": "function_call", "value": "weather()"}], "turn 2: the function call is no JSON"),
        ([TURNS[0], {"from": "gpt", "value": 3}], "content` is a number, not text"),
    ],
)
def test_a_wrong_turn_is_one_line(tmp_path: Path, conversations: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(tmp_path / "a.jsonl", conversations=conversations)


def test_tools_that_are_no_json_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`tools` is no JSON"):
        task(tmp_path / "a.jsonl", conversations=TURNS, tools="[{")

"""Adverse turns: a failed call is read and not trained, from the task's folder to the row."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.curation.base import CurationContext
from holdfast.curation.mask_adverse import MaskAdverse
from holdfast.tasks.formats.write import read_rows, write_task
from holdfast.tasks.loaders.readers import read_folder
from holdfast.tasks.task import Example, Task
from tests.tasks.text.test_chat import QWEN, example, row, template, tokenizer, trained

FAILED = {"role": "tool", "content": "TypeError: weather() got an unexpected keyword argument 'town'"}
DATA = Path(__file__).parents[2] / "docs/examples/tools"


def call(**arguments: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "weather", "arguments": arguments}}],
    }


TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "The weather in Rome?"},
    call(town="Rome"),
    FAILED,
    call(city="Rome"),
    {"role": "tool", "content": "12"},
    {"role": "assistant", "content": "12 degrees."},
]


def masked(item: Example, **fields: Any) -> Example:
    (new,) = MaskAdverse(**fields)([item], CurationContext(Task("weather", {"train": (item,)}), 0))
    return new


@pytest.mark.parametrize("chat_template", [None, template(QWEN, marked=True), template(QWEN, marked=False)])
def test_a_failed_call_is_read_and_not_trained(chat_template: str | None) -> None:
    item = example(TALK)
    new = masked(item)
    before, after = row(chat_template, item), row(chat_template, new)
    assert before.tokens == after.tokens
    texts = trained(before, tokenizer(chat_template))
    assert len(texts) == 3
    assert '"town"' in texts[0]
    assert trained(after, tokenizer(chat_template)) == texts[1:]
    assert new.origin == "adverse turns masked: weather/train[0], 1 of 3"


def test_the_last_turn_and_turns_without_a_failure_are_always_trained() -> None:
    good = example([*TALK[:1], *TALK[3:]])
    assert masked(good) is good
    # A failure that no later turn answers stands behind the last turn only, which is the target.
    last = example(TALK[:4])
    assert [turn.get("weight") for turn in masked(last).fields["messages"]] == [None, "0", None]  # pyright: ignore[reportGeneralTypeIssues]
    other = example([*TALK[:2], {"role": "tool", "content": "HTTP 503"}, *TALK[3:]])
    assert masked(other) is other
    assert masked(other, errors="http 5\\d\\d").origin.endswith("1 of 3")


def test_curated_conversations_are_written_and_read_back(tmp_path: Path) -> None:
    task = read_folder(DATA)
    rows = MaskAdverse()(task.splits["train"], CurationContext(task, 0))
    assert [bool(new.origin) for new in rows[:3]] == [True, False, True]
    write_task(replace(task, splits={"train": tuple(rows)}), tmp_path)
    again = read_rows(tmp_path, "train")
    assert json.dumps([dict(e.fields) for e in again]) == json.dumps([dict(e.fields) for e in rows])


def test_bad_input_is_one_line() -> None:
    plain = Example({"input": "x"}, "y")
    with pytest.raises(ValueError, match="mask_adverse: weather has no conversations"):
        masked(plain)
    with pytest.raises(ValueError, match=r"the pattern '\(' is no regular expression"):
        MaskAdverse(errors="(")
    with pytest.raises(ValueError, match=r"message 2: `weight` is 0\.5; write 0"):
        example([TALK[0], {**call(city="Rome"), "weight": 0.5}, *TALK[4:]])
    with pytest.raises(ValueError, match="the last message is the target and has weight 0"):
        example([TALK[0], {"role": "assistant", "content": "12", "weight": 0}])

"""The prompts that `holdfast generate` reads."""

import json

import pytest

from holdfast.cli.prompt_lines import parse_prompts


def test_lines_end_where_files_say_and_nowhere_else() -> None:
    """The bug: U+2028 and U+0085 end a line for `splitlines`, and JSON leaves them as they are."""
    odd = "one\u2028two\x85three"
    text = json.dumps({"prompt": odd}, ensure_ascii=False) + "\r\nplain\n\n" + json.dumps({"input": "last"})
    assert parse_prompts(text, "stdin") == [odd, "plain", "last"]


def test_every_line_that_holds_no_prompt_is_named() -> None:
    text = '{"prompt": "good"}\n{"prompt": ["a list"]}\n{"question": "?"}\n{"prompt": \n'
    with pytest.raises(ValueError, match=r"(?s)file:2: its prompt is no text.*file:3: has neither.*file:4: not JSON"):
        parse_prompts(text, "file")

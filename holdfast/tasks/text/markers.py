"""A marker at the end of a question: what `mark_context` trains and what the decoding `context_marker` asks with, so that both agree."""

import re
from typing import Any

CONTENT = "@@content@@"

# The line that begins the answer where there is no chat template, as the readers of records write it (`record_formats`).
ANSWER = re.compile(r"(\n(Assistant|### Response):\s*)?\Z")


def with_marker(text: str, marker: str) -> str:
    """Return a question with the marker behind it: a full stop where it ends in a letter or digit, a space, and the marker.

    White space at the end goes, which many chat templates strip as well; a line that begins the answer stays behind the marker.
    """
    question, begin = _parts(text)
    return question + marker_end(question, marker) + begin


def marker_end(question: str, marker: str) -> str:
    """Return what stands behind a question that ends in no white space: a full stop where it needs one, and the marker."""
    return ("." if question[-1:].isalnum() else "") + " " + marker


def marked_template(template: str, text: str, marker: str) -> str:
    """Return a Jinja template that writes `with_marker(text)`, of one that writes the text."""
    question, begin = _parts(text)
    if question != text:
        # A name that no field has: the template may read one that is called `question`.
        template = "{% set before_marker %}" + template + "{% endset %}{{ before_marker[:" + str(len(question)) + "] }}"
    return template + marker_end(question, marker) + begin


def _parts(text: str) -> tuple[str, str]:
    """Return a question without white space at its end, and the line behind it that begins the answer, or nothing."""
    begin = ANSWER.search(text)
    assert begin is not None  # It matches the end of any text.
    return text[: begin.start()].rstrip(), begin[0]


def with_marker_in_prompt(prompt: str, marker: str, tokenizer: Any) -> str:
    """Return a rendered prompt with the marker behind its last question: before what a chat template writes after a user's turn."""
    end = _after_a_turn(tokenizer)
    if end and prompt.endswith(end):
        return with_marker(prompt.removesuffix(end), marker) + end
    return with_marker(prompt, marker)


def _after_a_turn(tokenizer: Any) -> str:
    """Return the text that a chat template writes between a user's turn and the answer; empty where there is no chat template."""
    if not getattr(tokenizer, "chat_template", None):
        return ""
    turn = [{"role": "user", "content": CONTENT}]
    return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True).partition(CONTENT)[2]

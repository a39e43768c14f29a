"""A marker at the end of a question: what `mark_context` trains and what the decoding `context_marker` asks with, so that both agree."""

from typing import Any

CONTENT = "@@content@@"


def with_marker(text: str, marker: str) -> str:
    """Return a question with the marker behind it: a full stop where it ends in a letter or digit, a space, and the marker."""
    return text + marker_end(text, marker)


def marker_end(text: str, marker: str) -> str:
    """Return what `with_marker` adds to a question."""
    return ("." if text[-1:].isalnum() else "") + ("" if text[-1:].isspace() else " ") + marker


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

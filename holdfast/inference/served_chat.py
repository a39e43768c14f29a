"""Conversations as texts for a server that applies its own chat template: written here, read again where they are sent."""

from collections.abc import Mapping, Sequence
from typing import Any

BEGIN, CONTENT = "\x1e", "\x1f"  # record and unit separator, which no text of people or models has


class ServedChat:
    """Stands where a tokenizer would: the text that it writes of a conversation can be sent as messages (`messages_of`)."""

    chat_template = "{{ messages }}"
    name_or_path = "server"

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], *, tokenize: bool = False, add_generation_prompt: bool = False,
        **options: Any,
    ) -> str:  # fmt: skip
        """Return the conversation as text, opened for the assistant's answer with `add_generation_prompt`.

        Raises:
            ValueError: a message holds a separator.
        """
        if any({BEGIN, CONTENT} & set(str(message["content"])) for message in messages):
            raise ValueError("a message has a control character (U+001E or U+001F) in it; take it out")
        text = "".join(f"{BEGIN}{message['role']}\n{CONTENT}{message['content']}\n" for message in messages)
        return text + (f"{BEGIN}assistant\n{CONTENT}" if add_generation_prompt else "")


def messages_of(text: str) -> list[dict[str, str]]:
    """Return the messages to send for a text: those that `ServedChat` wrote, else a single one of the user."""
    if not text.startswith(BEGIN):
        return [{"role": "user", "content": text}]
    messages: list[dict[str, str]] = []
    for part in text.split(BEGIN)[1:]:
        role, _, content = part.partition(CONTENT)
        messages.append({"role": role.strip(), "content": content.removesuffix("\n")})
    # The last one is the answer that is asked for.
    return messages[:-1] if messages[-1]["role"] == "assistant" and not messages[-1]["content"] else messages

"""Text that somebody else wrote, made safe to print: no terminal obeys it, and it reads in the order in which it is stored."""

import re
from typing import Any

# Controls but for newline and tab, among them ESC, which begins every command of a terminal; marks that turn the order of reading round
# (overrides, embeddings, isolates); halves of characters, which no encoding can write.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SAFE_ASCII = 0x20


def visible(text: str) -> str:
    """Return a text with its control characters as signs: ␛ for ESC, � for those that have none."""
    return CONTROLS.sub(_sign, text)


def visible_json(text: str) -> str:
    """Return JSON with its control characters as escapes, which mean the same to a program."""
    return CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: str) -> str:
    """Return a text on one line, without control characters."""
    return visible(" ".join(text.split()))


def escaped(text: str) -> str:
    """Return text, on one line, that Markdown shows as it is, also inside a table."""
    # Names of tasks and models hold underscores and bars; "<" and "&" would begin HTML on a hub, "#" a heading.
    return re.sub(r"([\\`*_\[\]<>|&~]|^[#+-]|^\d+[.)])", r"\\\1", one_line(text))


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < SAFE_ASCII else "\u2421" if code == 0x7F else "\ufffd"


class Visible:
    """Something rich can print, whose texts are made visible once rich has laid them out: its own colours stay."""

    def __init__(self, renderable: Any) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: Any, options: Any) -> Any:
        """Yield the segments of the renderable."""
        from rich.segment import Segment  # Here, because a page needs no terminal.

        for segment in console.render(self.renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

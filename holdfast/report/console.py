"""Tables and texts for a terminal, as every report lays them out: 80 columns, and colour never the only carrier of a meaning."""

import os

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.results import units
from holdfast.results.scores import Score, Verdict

STYLE: dict[Verdict, str] = {"gained": "green", "kept": "", "lost": "bold red", "unclear": "dim"}


def path_line(line: str) -> Text:
    """Return a line that is not folded at the terminal's width: a path or a command is copied whole."""
    return Text(line, no_wrap=True, overflow="ignore")


def text(renderable: RenderableType, width: int | None = None) -> str:
    """Return a renderable as plain text: `width` columns, else those of COLUMNS, else 80."""
    # No colours and no legacy Windows console, whatever the terminal: the text goes to files and is compared in tests.
    console = Console(width=width or int(os.environ.get("COLUMNS") or 80), color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(renderable, markup=False, highlight=False, crop=False)  # names of tasks are text
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def plain_table(gap: int = 1) -> Table:
    """Return an empty table without lines, as narrow as its cells, with `gap` spaces between columns."""
    return Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim", show_edge=False)


def value(score: Score | None) -> str:
    """Return a score's value, or a dash where it was not measured."""
    return units.shown(score) if score else "-"

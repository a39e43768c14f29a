"""Grids of languages as tables: a row for each language of the data, a column for each language of the prompts."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.results.language_grid import GridScores, read_grids
from holdfast.results.scores import Score


def tables(scores: Sequence[Score]) -> list[RenderableType]:
    """Return a table for each grid, with the means of its groups; of a tuned model with what changed."""
    parts: list[RenderableType] = []
    for grid in read_grids(scores):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("data", overflow="fold")
        for prompt in grid.prompts:
            table.add_column(prompt, justify="right", no_wrap=True)
        for language, group in grid.groups.items():
            table.add_row(f"{language} ({group})" if group else language, *_row(grid, [language]))
        named = dict.fromkeys(group for group in grid.groups.values() if group)
        for group in named:
            members = [language for language, name in grid.groups.items() if name == group]
            table.add_row(f"mean: {group}", *_row(grid, members))
        table.add_row("mean", *_row(grid, list(grid.groups)))
        change = ", tuned (change since the base)" if grid.tuned else ""
        note = f"{grid.title}, points: language of the data by language of the prompt, median over its prompts{change}"
        parts += [Text(), Text(note, style="dim"), table]
    return parts


def _row(grid: GridScores, languages: Sequence[str]) -> list[str]:
    cells = []
    for prompt in grid.prompts:
        base, tuned = grid.mean(languages, prompt)
        cells.append(f"{base:.1f}" if tuned is None else f"{tuned:.1f} ({tuned - base:+.1f})")
    return cells

"""Grids of languages as tables: a row for each language of the data, a column for each language of the prompts."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from holdfast.report.console import plain_table
from holdfast.results.language_grid import read_grids
from holdfast.results.scores import Score


def tables(scores: Sequence[Score]) -> list[RenderableType]:
    """Return a table for each grid, with the means of its groups; of a tuned model with what changed."""
    parts: list[RenderableType] = []
    for grid in read_grids(scores):
        table = plain_table(gap=2)
        table.add_column("data", overflow="fold")
        for prompt in grid.prompts:
            table.add_column(prompt, justify="right", no_wrap=True)
        for name, values in grid.lines():
            table.add_row(name, *values)
        parts += [Text(), Text(f"{grid.title}: {grid.meaning}", style="dim"), table]
    return parts

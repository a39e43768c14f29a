"""Grids of languages as tables: a row for each language of the data, a column for each language of the prompts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.results import units
from holdfast.results.scores import Score
from holdfast.tasks.language_grid import Cell, cell_of

Key = tuple[str, str]
"""The language of the data and that of the prompt."""


@dataclass
class GridScores:
    """The scores of a grid's cells at one number of shots: by language and prompt language, one value for each prompt, in points."""

    title: str
    groups: dict[str, str] = field(default_factory=dict)
    base: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    tuned: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def prompts(self) -> list[str]:
        """Return the languages of the prompts, in their order."""
        return list(dict.fromkeys(prompt for _, prompt in self.base))

    def mean(self, languages: Iterable[str], prompt: str) -> tuple[float, float | None]:
        """Return the means over languages of the medians over prompts: of the base, and of the tuned model where there is one."""
        keys = [(language, prompt) for language in languages]
        tuned = fmean(median(self.tuned[key]) for key in keys) if self.tuned else None
        return fmean(median(self.base[key]) for key in keys), tuned


def read_grids(scores: Sequence[Score]) -> list[GridScores]:
    """Return every grid among the scores, by name, metric and number of shots."""
    grids: dict[tuple[str, str, int], GridScores] = {}
    for score in scores:
        cell = cell_of(score.task)
        if cell is None or units.is_symptom(score.metric) or score.step is not None:
            continue
        key = (cell.grid, score.metric, score.shots)
        title = f"{cell.grid}, {score.metric}, {score.shots} shot{'' if score.shots == 1 else 's'}"
        grid = grids.setdefault(key, GridScores(title))
        _add(grid, cell, score)
    return list(grids.values())


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


def _add(grid: GridScores, cell: Cell, score: Score) -> None:
    grid.groups.setdefault(cell.language, cell.group)
    # A general task is asked without the prompt that was trained for the target; that is what counts where both were asked.
    side = grid.base if score.variant == "base" else grid.tuned
    if score.prompt != "on" or score.role == "target":
        side[cell.language, cell.prompt].append(score.value * (units.facts(score.metric).points or 1.0))


def _row(grid: GridScores, languages: Sequence[str]) -> list[str]:
    cells = []
    for prompt in grid.prompts:
        base, tuned = grid.mean(languages, prompt)
        cells.append(f"{base:.1f}" if tuned is None else f"{tuned:.1f} ({tuned - base:+.1f})")
    return cells

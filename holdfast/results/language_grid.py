"""Grids of languages among the scores: by language of the data and of the prompt, one value for each prompt."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from holdfast.results import units
from holdfast.results.scores import Score
from holdfast.tasks.language_grid import GridCell, cell_of

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


def _add(grid: GridScores, cell: GridCell, score: Score) -> None:
    grid.groups.setdefault(cell.language, cell.group)
    # A general task is asked without the prompt that was trained for the target; that is what counts where both were asked.
    side = grid.base if score.variant == "base" else grid.tuned
    if score.prompt != "on" or score.role == "target":
        side[cell.language, cell.prompt].append(score.value * (units.facts(score.metric).points or 1.0))

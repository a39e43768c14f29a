"""Grids of languages among the scores: by language of the data and of the prompt, one value for each prompt."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from holdfast.results import units
from holdfast.results.scores import Score
from holdfast.tasks.loaders.language_grid import GridCell, cell_of

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

    @property
    def meaning(self) -> str:
        """Return what the numbers are, in words."""
        change = "; of the tuned model, with the change since the base" if self.tuned else ""
        return f"points, language of the data by language of the prompt, median over its prompts{change}"

    def lines(self) -> list[tuple[str, list[str]]]:
        """Return a line for each language, each group and all, with a value for each language of the prompts."""
        named = [(f"{lang} ({group})" if group else lang, [lang]) for lang, group in self.groups.items()]
        for name in dict.fromkeys(filter(None, self.groups.values())):
            named.append((f"mean: {name}", [lang for lang, group in self.groups.items() if group == name]))
        named.append(("mean", list(self.groups)))
        return [(name, [self._value(members, prompt) for prompt in self.prompts]) for name, members in named]

    def _value(self, languages: Sequence[str], prompt: str) -> str:
        base, tuned = self.mean(languages, prompt)
        return f"{base:.1f}" if tuned is None else f"{tuned:.1f} ({tuned - base:+.1f})"


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

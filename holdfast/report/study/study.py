"""What a study found, as records: read from and written to `study.jsonl`, and shown in a terminal of 80 columns."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from holdfast.report import table
from holdfast.results import units
from holdfast.results.scores import write_jsonl
from holdfast.results.tradeoff import Point

FILE = "study.jsonl"
T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # Student's t, 95 %, for 1 to 9 degrees of freedom


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, the standard deviation between them (None of one), and how many."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """Of the values that there are; None of none."""
        found = [value for value in values if value is not None]
        if not found:
            return None
        return cls(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % over seeds, by Student's t; None of one seed."""
        if self.sd is None:
            return None
        half = (T_95[self.n - 2] if self.n - 2 < len(T_95) else 2.2) * self.sd / self.n**0.5
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Course:
    """One run: its arm and seed, and its points from step 0 on."""

    task: str
    arm: str
    seed: int
    stage_one: float | None
    points: list[Point]
    record: str = "course"


@dataclass(frozen=True)
class Look:
    """What an analysis found of one run after so many steps: the mean over the blocks or tasks that it looked at."""

    task: str
    arm: str
    seed: int
    analysis: str
    measure: str
    step: int
    value: float
    record: str = "look"


@dataclass(frozen=True)
class Cell:
    """An arm on a target over its seeds. Points of 100; `kept` and `matched` per cent of the base's mean on the general tasks.

    `matched` is what is kept where the target score first reaches `level` (`n` counts the seeds that do); `area` the mean of that over
    all target scores (see `holdfast.results.tradeoff`). `stage_one` is the prompt's own score before the last stage. `drift` is the
    change of the weights at the end, per cent of the norm they had, mean over blocks (where the study analyses `weight_drift`);
    `transfer` the backward transfer (BWT) on the earlier targets of a sequence.
    """

    task: str
    arm: str
    method: str
    settings: dict[str, Any]
    seeds: int
    level: float | None
    target: Spread | None
    gain: Spread | None
    change: Spread | None
    kept: Spread | None
    matched: Spread | None
    area: Spread | None
    stage_one: Spread | None
    format_share: Spread | None
    drift: Spread | None = None
    transfer: Spread | None = None
    record: str = "cell"


@dataclass(frozen=True)
class Answered:
    """What an arm scores on one task that it was asked, over its seeds, in points: the target with the prompt, any other without."""

    task: str
    arm: str
    asked: str
    role: str
    shots: int
    base: float | None
    score: Spread | None
    record: str = "answered"


@dataclass(frozen=True)
class Comparison:
    """An arm against the first one on a target: mean difference, in points, paired by seed and by item.

    `p_items` resamples the items that both answered (means over seeds); `p_seeds` is Student's paired t over seeds. Both are
    corrected (Holm) for all comparisons of the study by this measure; None where there is nothing to test.
    """

    task: str
    arm: str
    against: str
    measure: str
    difference: float
    low: float | None
    high: float | None
    p_items: float | None
    p_seeds: float | None
    n_seeds: int
    record: str = "comparison"


@dataclass(frozen=True)
class Prediction:
    """Does the score of stage 1 predict `measure`? Spearman's rank correlation over runs, with its two-sided p."""

    measure: str
    correlation: float
    p: float
    n: int
    record: str = "prediction"


@dataclass(frozen=True)
class Study:
    """Everything that a study found."""

    cells: list[Cell]
    comparisons: list[Comparison] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    courses: list[Course] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        """As JSON objects, each with its kind under `record`."""
        return [asdict(one) for one in self._all()]

    def write(self, folder: Path) -> None:
        """`study.jsonl`."""
        write_jsonl(folder / FILE, self._all())

    def _all(self) -> list[Any]:
        return [*self.cells, *self.answered, *self.comparisons, *self.predictions, *self.courses, *self.looks]


def read(folder: Path) -> Study:
    """A study from its folder.

    Raises:
        ValueError: there is no study.
    """
    path = folder / FILE
    if not path.exists():
        raise ValueError(f"{path}: there is no such file; `holdfast study` writes it")
    kinds = ("cell", "answered", "comparison", "prediction", "course", "look")
    found: dict[str, list[Any]] = {kind: [] for kind in kinds}
    for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n"):
        record = json.loads(line)
        found[record["record"]].append(record)
    cells = [Cell(**_spreads(one)) for one in found["cell"]]
    courses = [Course(**{**one, "points": [Point(**p) for p in one["points"]]}) for one in found["course"]]
    return Study(
        cells,
        [Comparison(**one) for one in found["comparison"]],
        [Prediction(**o) for o in found["prediction"]],
        courses,
        [Answered(**_spreads(one)) for one in found["answered"]],
        [Look(**one) for one in found["look"]],
    )


SPREADS = {f.name for kind in (Cell, Answered) for f in fields(kind) if "Spread" in str(f.type)}


def _spreads(record: dict[str, Any]) -> dict[str, Any]:
    return {key: Spread(**value) if key in SPREADS and value else value for key, value in record.items()}


def terminal(study: Study) -> RenderableType:
    """Tables that fit 80 columns: each target's arms, the differences to the first arm, and what stage 1 predicts."""
    parts: list[RenderableType] = []
    for task in dict.fromkeys(cell.task for cell in study.cells):
        cells = [cell for cell in study.cells if cell.task == task]
        level = f", matched at {cells[0].level:.1f}" if cells[0].level is not None else ""
        parts += [Text(f"{task}{level}", style="bold"), _arms(cells), Text()]
        compared = [one for one in study.comparisons if one.task == task]
        if compared:
            parts += [Text(f"Against {compared[0].against}, in points (p over items / over seeds, after Holm)")]
            parts += [_compared(compared), Text()]
    parts.append(Text(NOTE, style="dim"))
    parts += [Text(said(one)) for one in study.predictions]
    return Group(*parts)


NOTE = (
    "Means and standard deviations over n seeds. target: points. kept: % of the base's mean on the general tasks. matched: the "
    "same where the target score first reaches the level. area: mean of matched over all target scores. form: general answers in "
    "the target's format, %. stage 1: the prompt's own target score. BWT: earlier targets of a sequence, at its end against right "
    "after their own stages."
)


def said(one: Prediction) -> str:
    """A prediction in words."""
    p = f"{one.p:.2g}" if one.p >= 0.0001 else "<0.0001"
    return f"Stage-1 score and {one.measure}: rank correlation {one.correlation:+.2f} (p {p}, {one.n} runs)."


def shown(found: Spread | None, seeds: int = 0, plus: bool = False) -> str:
    """`91.0 ± 2.0`, and how many of the seeds where not all count."""
    if found is None:
        return "-"
    text = units.points(found.mean, plus) + ("" if found.sd is None else f" ± {found.sd:.1f}")
    return text if found.n >= seeds else f"{text} ({found.n}/{seeds})"


def _arms(cells: Sequence[Cell]) -> RenderableType:
    grid = table.plain()
    grid.add_column("arm", overflow="fold", min_width=12)
    titles = ("n", "target", "kept", "matched", "area", "form", "stage 1", "BWT")
    columns = [
        [str(c.seeds) for c in cells],
        [shown(c.target) for c in cells],
        [shown(c.kept) for c in cells],
        [shown(c.matched, c.seeds) for c in cells],
        *([_mean(getattr(c, name)) for c in cells] for name in ("area", "format_share", "stage_one", "transfer")),
    ]
    used = [place for place, column in enumerate(columns) if set(column) != {"-"}]
    for place in used:
        grid.add_column(titles[place], justify="right", no_wrap=True)
    for row, cell in enumerate(cells):
        grid.add_row(brief(cell.arm), *[columns[place][row] for place in used])
    return grid


def brief(arm: str) -> str:
    """An arm's name without the stages before its settings, where every setting is then still told from the others; one a line."""
    method, at, rest = arm.partition("@")
    settings = [part.partition(".")[2] or part for part in rest.split(",")]
    names = {part.partition("=")[0] for part in settings}
    return arm if not at or len(names) < len(settings) else "\n ".join([method, *settings])


def _mean(found: Spread | None) -> str:
    return "-" if found is None else units.points(found.mean)


def _compared(found: Sequence[Comparison]) -> RenderableType:
    grid = table.plain()
    grid.add_column("arm", overflow="fold", min_width=12)
    measures = list(dict.fromkeys(one.measure for one in found))
    for measure in measures:
        grid.add_column(measure, justify="right", no_wrap=True)
    places = {(one.arm, one.measure): one for one in found}
    for arm in dict.fromkeys(one.arm for one in found):
        grid.add_row(brief(arm), *[_difference(places.get((arm, measure))) for measure in measures])
    return grid


def _difference(one: Comparison | None) -> str:
    if one is None:
        return "-"
    ps = " / ".join(
        "-" if p is None else f"{p:.2f}".lstrip("0") if p >= 0.005 else "<.01" for p in (one.p_items, one.p_seeds)
    )
    return f"{units.points(one.difference, True)}\n({ps})"  # on two lines: four measures fit 80 columns

"""A study's results as records: read from and written to `study.jsonl`."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from scipy import stats

from holdfast.results.scores import write_jsonl
from holdfast.results.statistics import LEVEL
from holdfast.results.tradeoff import Point

FILE = "study.jsonl"
FEWEST_TARGETS = 4  # of fewer, no exchange of targets is as rare as 5 %


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
        half = float(stats.t.ppf((1 + LEVEL) / 2, self.n - 1)) * self.sd / self.n**0.5
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Trajectory:
    """One run: its arm and seed, and its points from step 0 on."""

    task: str
    arm: str
    seed: int
    stage_one: float | None
    points: list[Point]
    record: str = "course"


@dataclass(frozen=True)
class AnalysisPoint:
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
class TaskScore:
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
    """Does the score of stage 1 predict `measure`? Spearman's rank correlation of the targets' means, from `n` runs on `targets` targets.

    `p` is two-sided, of whole targets exchanged: runs of one target resemble each other. It is None of fewer than `FEWEST_TARGETS`, where
    nothing can be told; records of older versions, which counted runs, have no `targets`.
    """

    measure: str
    correlation: float
    p: float | None
    n: int
    targets: int = 0
    record: str = "prediction"


@dataclass(frozen=True)
class Study:
    """Everything that a study found."""

    cells: list[Cell]
    comparisons: list[Comparison] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    courses: list[Trajectory] = field(default_factory=list)
    answered: list[TaskScore] = field(default_factory=list)
    looks: list[AnalysisPoint] = field(default_factory=list)
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
    courses = [Trajectory(**{**one, "points": [Point(**p) for p in one["points"]]}) for one in found["course"]]
    return Study(
        cells,
        [Comparison(**one) for one in found["comparison"]],
        [Prediction(**o) for o in found["prediction"]],
        courses,
        [TaskScore(**_spreads(one)) for one in found["answered"]],
        [AnalysisPoint(**one) for one in found["look"]],
    )


SPREADS = {f.name for kind in (Cell, TaskScore) for f in fields(kind) if "Spread" in str(f.type)}


def _spreads(record: dict[str, Any]) -> dict[str, Any]:
    return {key: Spread(**value) if key in SPREADS and value else value for key, value in record.items()}

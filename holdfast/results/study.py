"""A study's results as records: read from and written to `study.jsonl`."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scipy import special

from holdfast.results.record_lines import read_objects, to_record
from holdfast.results.scores import write_jsonl
from holdfast.results.statistics import LEVEL
from holdfast.results.tradeoff import Point

FILE = "study.jsonl"
AGAIN = "give the command of the study again"
# The smallest and the largest value that a measure can have: a score in points, a share, a change of points. What is kept of the base's
# mean ends at nothing and has no upper end.
BOUNDS = {
    **dict.fromkeys(("target", "stage_one", "format_share"), (0.0, 100.0)),
    **dict.fromkeys(("kept", "matched", "area", "drift"), (0.0, math.inf)),
    **dict.fromkeys(("gain", "change", "transfer"), (-100.0, 100.0)),
}
RESOLVED = 0.05
FEWEST_SEEDS = 3  # two give Student's t one degree of freedom: an interval of 9 standard deviations to each side
EQUAL = 1e-9  # points: a smaller spread is rounding
FEWEST_TARGETS = 4  # of fewer, no exchange of targets is as rare as 5 %


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, the standard deviation between them (None of one), and how many."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """Return the spread of the values that are not None; None where all are."""
        numbers = [value for value in values if value is not None]
        if not numbers:
            return None
        return cls(statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None, len(numbers))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval over seeds, by Student's t; None of fewer than `FEWEST_SEEDS`, or of equal values.

        Equal values are no proof of a certain mean: on ten items two seeds often end at the same score, and the width would be zero.
        """
        if self.sd is None or self.n < FEWEST_SEEDS or self.sd < EQUAL:
            return None
        # n is the number of seeds, often three, for which the normal's 1.96 is less than half of what is needed.
        half = float(special.stdtrit(self.n - 1, (1 + LEVEL) / 2)) * self.sd / self.n**0.5
        return self.mean - half, self.mean + half

    def limits(self, measure: str) -> tuple[float, float] | None:
        """Return the interval of a measure, cut where its values end; None where there is none."""
        # Student's t of three seeds is 4.3 standard errors. Cutting leaves the coverage as it is: no true mean lies out there.
        return None if self.interval is None else _cut(self.interval, *BOUNDS[measure])


def _cut(interval: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    return min(high, max(low, interval[0])), max(low, min(high, interval[1]))


@dataclass(frozen=True)
class Trajectory:
    """The course of one run: its target, arm and seed, and its points from step 0 on.

    Of a run whose weights were `edited` after training there are two, base and end; none between them was measured.
    """

    task: str
    arm: str
    seed: int
    stage_one: float | None
    points: list[Point]
    edited: bool = False
    record: str = "course"

    @property
    def followed(self) -> bool:
        """Return whether what is kept at a target score can be read from the points."""
        return bool(self.points) and not self.edited


@dataclass(frozen=True)
class AnalysisPoint:
    """A measure of an analysis on one run after so many steps: the mean over the blocks or tasks that were analysed."""

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
    all target scores (see `holdfast.results.tradeoff`); both None of an arm with an edit, whose course is not that of its weights.
    `stage_one` is the prompt's own score before the last stage. `drift` is the change of the weights at the end, per cent of the norm
    they had, mean over blocks (where the study analyses `weight_drift`); `transfer` the backward transfer (BWT) on the earlier targets of
    a sequence.
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
    """An arm's scores on one task over its seeds, in points: the target with the prompt, any other without.

    `task` is the target that the arm was tuned on, `asked` the task that was evaluated. `floored` is a general task on which the base is
    not above chance, so that it counts in no mean.
    """

    task: str
    arm: str
    asked: str  # as in records of older versions, so that their studies are still read
    role: str
    shots: int
    base: float | None
    score: Spread | None
    floored: bool = False
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

    @property
    def limits(self) -> tuple[float, float] | None:
        """Return the interval, cut where a difference of two values of the measure ends; None where seeds can tell nothing.

        That is of fewer than `FEWEST_SEEDS`, or where all differences are equal, as `Spread.interval`; records of older versions hold
        such intervals.
        """
        if self.low is None or self.high is None or self.n_seeds < FEWEST_SEEDS or self.high - self.low < EQUAL:
            return None
        low, high = BOUNDS[self.measure]
        # A change of points is a difference already, of two scores on the same items: so is the difference of two changes.
        widest = 100.0 if self.measure in ("gain", "change") else high - low
        return _cut((self.low, self.high), -widest, widest)

    @property
    def p_over_seeds(self) -> float | None:
        """Return `p_seeds` where there is an interval; None where seeds can tell nothing."""
        return None if self.limits is None else self.p_seeds

    @property
    def resolved(self) -> bool:
        """Return whether the arms differ, seed by seed, by more than chance, after the correction for all arms and targets of the study.

        Of two seeds never: Student's t has one degree of freedom then, so that its p hangs on how near two numbers happen to lie, and
        equal scores give a width of zero. It takes `FEWEST_SEEDS`.
        """
        return self.p_over_seeds is not None and self.p_over_seeds < RESOLVED


@dataclass(frozen=True)
class Prediction:
    """Spearman's rank correlation of the stage-1 score with `measure`, over the targets' means, from `n` runs on `targets` targets.

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
    """The results of a study: all records of `study.jsonl`, and the runs that `failed` (name, reason), which no file holds."""

    cells: list[Cell]
    comparisons: list[Comparison] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    courses: list[Trajectory] = field(default_factory=list)
    answered: list[TaskScore] = field(default_factory=list)
    looks: list[AnalysisPoint] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        """Return the results as JSON objects, each with its type under `record`."""
        return [asdict(record) for record in self._all()]

    def write(self, folder: Path) -> None:
        """Write `study.jsonl` into a folder."""
        write_jsonl(folder / FILE, self._all())

    def _all(self) -> list[Any]:
        return [*self.cells, *self.answered, *self.comparisons, *self.predictions, *self.courses, *self.looks]


def read(folder: Path) -> Study:
    """Return the study that a folder holds.

    Raises:
        ValueError: there is no study.
    """
    path = folder / FILE
    if not path.exists():
        raise ValueError(f"{path}: there is no such file; `holdfast study` writes it")
    # The names in the files, some of them older than the classes': every study that was ever written can be read.
    names = ("cell", "answered", "comparison", "prediction", "course", "look")
    groups: dict[str, list[Any]] = {name: [] for name in names}
    types: dict[str, type] = dict(
        zip(names, (Cell, TaskScore, Comparison, Prediction, Trajectory, AnalysisPoint), strict=True)
    )
    for line in read_objects(path, AGAIN):
        name = str(line.values.get("record"))
        if name not in types:
            raise ValueError(f"{line.where}: no record of a study; {AGAIN}")
        groups[name].append(to_record(types[name], line, AGAIN))
    return Study(
        groups["cell"], groups["comparison"], groups["prediction"], groups["course"], groups["answered"], groups["look"]
    )

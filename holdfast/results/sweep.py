"""The course of an edit's dial on validation data, and the rule by which a value is chosen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean


@dataclass(frozen=True)
class SweepPoint:
    """One value of the dial. `target` is the mean of the targets' metrics as shares of the tuned model's, `general` that of the
    general tasks' as shares of the base's, both on validation examples; `tasks` has each metric, from 0 to 1."""

    dial: str
    value: float
    target: float
    general: float
    tasks: Mapping[str, float]
    chosen: bool = False

    @classmethod
    def of(
        cls,
        dial: str,
        value: float,
        measured: tuple[Mapping[str, float], Mapping[str, float]],
        references: tuple[Mapping[str, float], Mapping[str, float]],
    ) -> "SweepPoint":
        """Return the point of a value from the metrics of the targets and of the general tasks, and their references."""
        target, general = (_share(m, r) for m, r in zip(measured, references, strict=True))
        return cls(dial, value, target, general, {**measured[0], **measured[1]})

    def weighted(self, weight: float) -> float:
        """Return weight * target + general."""
        return weight * self.target + self.general


def choose(points: Sequence[SweepPoint], *, weight: float = 2.0, floor: float | None = None) -> SweepPoint:
    """Return the point of the largest `weight` * target + general; with `floor`, the one that keeps most of the general tasks among
    those that keep this share of the target. Of equal points the first is chosen; of none above the floor, the best on the target.

    Source: Wang et al. 2025, "LiNeS" (ICLR), single-task editing: the target counts twice
    """
    if floor is None:
        return max(points, key=lambda point: point.weighted(weight))
    above = [point for point in points if point.target >= floor]
    if not above:
        return max(points, key=lambda point: point.target)
    return max(above, key=lambda point: point.general)


def read_sweep(path: Path) -> list[SweepPoint]:
    """Return the points in a `sweep.jsonl`; none where there is no such file."""
    if not path.exists():
        return []
    known = {f.name for f in fields(SweepPoint)}  # a newer version may have written more
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [SweepPoint(**{key: value for key, value in record.items() if key in known}) for record in records]


def _share(measured: Mapping[str, float], references: Mapping[str, float]) -> float:
    """Return the mean over tasks of metric / reference."""
    # A task whose reference is 0 counts by its metric itself: nothing can be lost there.
    return fmean(measured[task] / references[task] if references[task] else measured[task] for task in measured)

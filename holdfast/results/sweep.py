"""The course of a search on validation data, and the rule by which a value is chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from holdfast.results.record_lines import read_objects, to_record

AGAIN = "remove the file and give the command of the run again"


@dataclass(frozen=True)
class SweepPoint:
    """A value of each dial (`{"edit.alpha": 0.5}`), and what was reached there, on validation examples.

    `target` is the mean of the targets' metrics as shares of a reference (the tuned model before the edit and without decoding; where
    each value trains a model, the first one's), `general` that of the general tasks' as shares of the base's; `tasks` has each metric,
    from 0 to 1. `key` tells the search from one of other contents.
    """

    settings: Mapping[str, Any]
    target: float
    general: float
    tasks: Mapping[str, float]
    chosen: bool = False
    key: str = ""

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        measured: tuple[Mapping[str, float], Mapping[str, float]],
        references: tuple[Mapping[str, float], Mapping[str, float]],
        key: str = "",
    ) -> "SweepPoint":
        """Return the point from the metrics of the targets and of the general tasks, and their references."""
        target, general = (_share(m, r) for m, r in zip(measured, references, strict=True))
        return cls(settings, target, general, {**measured[0], **measured[1]}, key=key)

    @property
    def label(self) -> str:
        """Return the values as text: `edit.alpha=0.5`."""
        values = {name: f"{value:g}" if isinstance(value, float) else value for name, value in self.settings.items()}
        return ", ".join(f"{name}={value}" for name, value in values.items())

    @property
    def shares(self) -> str:
        """Return what was reached as text: `98.0 % of the target, 12.0 % of the general tasks`."""
        return f"{100 * self.target:.1f} % of the target, {100 * self.general:.1f} % of the general tasks"

    def score(self, weight: float = 2.0, floor: float | None = None) -> float:
        """Return the number by which points are ordered: `weight` * target + general; with a floor, what is kept of the general tasks
        where the target reaches it, and below it a number under 0 that grows with the target."""
        if floor is None:
            return weight * self.target + self.general
        return self.general if self.target >= floor else self.target - floor - 1


def choose(points: Sequence[SweepPoint], *, weight: float = 2.0, floor: float | None = None) -> SweepPoint:
    """Return the point of the largest `weight` * target + general; with `floor`, the one that keeps most of the general tasks among
    those that keep this share of the target. Of equal points the first is chosen; of none above the floor, the best on the target.

    Source: Wang et al. 2025, "LiNeS" (ICLR), single-task editing: the target counts twice
    """
    return max(points, key=lambda point: point.score(weight, floor))


def read_sweep(path: Path) -> list[SweepPoint]:
    """Return the points in a `sweep.jsonl`; none where there is no such file."""
    if not path.exists():
        return []
    points: list[SweepPoint] = []
    for line in read_objects(path, AGAIN):
        # Of an earlier version: a single dial of the edit.
        if "dial" in line.values and "value" in line.values:
            line.values.setdefault("settings", {f"edit.{line.values['dial']}": line.values["value"]})
        points.append(to_record(SweepPoint, line, AGAIN))
    return points


def _share(measured: Mapping[str, float], references: Mapping[str, float]) -> float:
    """Return the mean over tasks of metric / reference."""
    # A task whose reference is 0 counts by its metric itself: nothing can be lost there.
    return fmean(measured[task] / references[task] if references[task] else measured[task] for task in measured)

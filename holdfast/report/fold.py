"""Long tables: the worst change first, and tasks that kept all they had folded into a line, so that a reader sees what matters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from holdfast.results import units
from holdfast.results.summary import TaskResult
from holdfast.results.verdicts import change_of

LONG = 12  # rows that a screen shows at once, whose order is the user's
Row = TypeVar("Row")


@dataclass(frozen=True)
class Folded(Generic[Row]):
    """The rows to show, and those of tasks that are unchanged: kept, by their verdict, at every number of shots."""

    shown: list[Row]
    unchanged: list[Row]
    text: str = ""

    @property
    def rows(self) -> list[Row]:
        """Return all rows, the unchanged ones last."""
        return [*self.shown, *self.unchanged]


def folded(rows: Sequence[Row], lines_of: Callable[[Row], Sequence[TaskResult | None]]) -> Folded[Row]:
    """Return the rows of general tasks, a task's shots together: of more than `LONG`, the task with the worst change first.

    `text` says in a line which tasks are unchanged, and within which changes; it is empty where none is.
    """
    if len(rows) <= LONG:
        return Folded(list(rows), [])
    by_task: dict[str, list[Row]] = {}
    lines: dict[str, list[TaskResult]] = {}
    for row in rows:
        measured = [line for line in lines_of(row) if line]
        by_task.setdefault(measured[0].task, []).append(row)
        lines.setdefault(measured[0].task, []).extend(measured)
    worst = {task: min(map(_moved, of_task)) for task, of_task in lines.items()}
    same = [task for task in by_task if all(map(_unchanged, lines[task]))]
    shown = sorted((task for task in by_task if task not in same), key=lambda task: worst[task])
    text = ""
    if same:
        moved = [_moved(line) for line in chain.from_iterable(lines[task] for task in same)]
        within = f"{units.points(min(moved), True)} to {units.points(max(moved), True)} points"
        text = (
            f"{len(same)} task{'s' if len(same) > 1 else ''} unchanged (kept at all shots; {within}): {', '.join(same)}"
        )
    return Folded(
        list(chain.from_iterable(by_task[task] for task in shown)),
        list(chain.from_iterable(by_task[task] for task in same)),
        text,
    )


def of_line(line: TaskResult) -> list[TaskResult | None]:
    """Return the line of a row that is a line itself."""
    return [line]


def _unchanged(line: TaskResult) -> bool:
    # Where the base is not above chance there is no verdict, and a rise is worth a look.
    return line.verdict == "kept" or (line.floored and _moved(line) == 0)


def _moved(line: TaskResult) -> float:
    """Return the change of the score that counts in points (of a metric without an upper end in per cent of the base); more is better."""
    score = line.headline
    if score is None or score.delta is None:
        return 0.0
    scale = units.factor(score.metric) or 100 / (abs(score.value - score.delta) or 1.0)
    return change_of(score).value * scale if score.delta_low is not None else 0.0

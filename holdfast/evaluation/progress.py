"""Progress of an evaluation on stderr: a bar on a terminal, a plain line a task in a log file, with the time that is left."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from holdfast.tasks.task import Task

OFTEN = 60.0  # Seconds between two lines about one part in a log file.


class AskingProgress:
    """Progress through a list of (task, shots) that is asked; use it as a context manager.

        with AskingProgress("base", items=[40, 40]) as progress:
            progress.begin("agnews, 4 shots")  # base: agnews, 4 shots: 40 items; 1 of 2
            progress.advance(20)  # of a long one, from time to time: 20 of 40 items
            ...
            progress.done()

    The time that is left is reckoned from the seconds an item has taken so far, so the first line has none. Of several processes that
    share the work one speaks; the others are `silent`.
    """

    def __init__(
        self, label: str, items: list[int], *, clock: Callable[[], float] = time.monotonic, silent: bool = False
    ) -> None:
        self.label, self.items, self.clock, self.silent = label, items, clock, silent
        self.number = 0  # How many parts are finished.
        self.answered, self.seconds, self.began = 0, 0.0, 0.0
        # Of the part that is asked: its name, its items that were asked earlier, and now.
        self.text, self.before, self.reached, self.spoke = "", 0, 0, 0.0
        console = Console(file=sys.stderr)
        self.terminal = console.is_terminal
        # Task names are text, never rich's markup: a name may have square brackets.
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), MofNCompleteColumn())
        self.bar = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=silent or not self.terminal
        )
        self.line = self.bar.add_task(label, total=sum(items))

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def begin(self, text: str, before: int = 0) -> None:
        """Announce the next part; `text` names its task and shots, `before` items of it were asked by a run that was interrupted."""
        self.began = self.spoke = self.clock()
        self.text, self.before, self.reached = text, before, 0
        self.bar.update(self.line, description=f"{self.label}: {text}", advance=before)
        count = self.items[self.number]
        again = f", {before} of them asked before" if before else ""
        self._say(f"{count} item{'' if count == 1 else 's'}{again}; part {self.number + 1} of {len(self.items)}")

    def advance(self, count: int) -> None:
        """Count items of the part that began last."""
        self.reached += count
        self.bar.advance(self.line, count)
        if (done := self.before + self.reached) < self.items[self.number] and self.clock() - self.spoke >= OFTEN:
            self.spoke = self.clock()
            self._say(f"{done} of {self.items[self.number]} items")

    def _say(self, text: str) -> None:
        if not (self.terminal or self.silent):
            print(f"{self.label}: {self.text}: {text}{self._left()}", file=sys.stderr, flush=True)

    def done(self) -> None:
        """Count the part that began last as finished."""
        self.answered += self.reached or self.items[self.number] - self.before
        self.seconds += self.clock() - self.began
        self.skip()

    def skip(self) -> None:
        """Count the next part as asked before, by a run that was interrupted."""
        # Without its seconds: it takes no time, and tells nothing about the rest.
        self.bar.advance(self.line, max(0, self.items[self.number] - self.before - self.reached))
        self.number, self.before, self.reached = self.number + 1, 0, 0

    def _left(self) -> str:
        items = self.answered + self.reached
        if not items:  # No item yet from which a time could be reckoned.
            return ""
        seconds = self.seconds + self.clock() - self.began
        left = max(0, sum(self.items[self.number :]) - self.before - self.reached)
        return f"; about {duration(seconds / items * left)} left"


def task_items(task: Task, limit: int | None) -> int:
    """Return the number of items that a task is asked; 0 where the harness alone knows."""
    count = len(task.splits.get("test", ()))
    return count if limit is None else min(limit, count)


def duration(seconds: float) -> str:
    """Return a time in words as short as they can be: `40 s`, `2 min`, `1 h 20 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

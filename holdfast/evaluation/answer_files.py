"""Answers that go to the disk as they come: a file for each part of a task, which appears whole.

So memory holds one part, a killed evaluation goes on behind the parts that are there, and several processes share the parts. A part's
answers depend on nothing but itself: however often it is killed and by however many processes asked, the result has the same bytes.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.atomic_files import whole
from holdfast.decoding.base import Decoding
from holdfast.evaluation.ask import in_parts, part_count
from holdfast.evaluation.matrix import PART, Asking
from holdfast.evaluation.progress import AskingProgress, task_items
from holdfast.inference.language_model import LanguageModel
from holdfast.plugins import name_of
from holdfast.results.scores import write_jsonl
from holdfast.tasks.task import Task


@dataclass(frozen=True)
class AskedTask:
    """One task at one number of shots, as `in_parts` asks it; `note` is added to its name on the terminal."""

    task: Task
    asking: Asking
    target: Task | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """Return its name on the terminal."""
        shots = self.asking.shots
        return f"{self.task.name}, {shots} shot{'' if shots == 1 else 's'}{self.note}"


@dataclass(frozen=True)
class Share:
    """This process's share of the parts: every `processes`-th of them, from the `index`-th on."""

    index: int = 0
    processes: int = 1

    def has(self, number: int) -> bool:
        """Return whether the part of this number, counted over all cells, is this process's to ask."""
        return number % self.processes == self.index


def ask_cells(
    cells: Sequence[AskedTask],
    folder: Path,
    model: Callable[[], LanguageModel],
    progress: AskingProgress,
    *,
    decoding: Decoding | None = None,
    step: int | None = None,
    share: Share = Share(),
) -> list[list[Path]]:
    """Ask every part of this process's share that has no file yet; return the files of all parts, by cell and in the order of the items.

    Args:
        cells: What is asked. Their order names the files, so it must be the same after a kill.
        folder: Where the files stand.
        model: Called once something is left to ask.
        progress: Has begun, with the number of items of each cell.
        decoding: The technique that stands around the model: each answer has its name, so that none passes for one of the model alone.
        step: The step of training under which the answers stand.
        share: Other processes ask the rest; whoever reads all files waits for them.

    Raises:
        ValueError: a task cannot be asked.
    """
    name = "" if decoding is None else f"{name_of(decoding)}: "
    files, before = [], 0
    for number, cell in enumerate(cells):
        count = part_count(cell.task, cell.asking.limit)
        # By number: a task's name need not be that of a file.
        stems = [f"{number:04}" if count == 1 else f"{number:04}-{part:06}" for part in range(count)]
        files.append([folder / f"{stem}.jsonl" for stem in stems])
        mine = [part for part in range(count) if share.has(before + part)]
        left = [part for part in mine if not files[-1][part].exists()]
        before += count
        if not left:
            progress.skip()
            continue
        # What the other processes ask is counted with this one's.
        items, each = task_items(cell.task, cell.asking.limit), PART * share.processes
        progress.begin(cell.label, before=min(items, (len(mine) - len(left)) * each))
        parts = in_parts(model(), cell.task, cell.asking, target=cell.target)
        assert len(parts) == count, (cell.label, len(parts), count)
        for part in left:
            outputs = parts[part]()
            write_jsonl(files[-1][part], (replace(o, step=step, decoding=name + o.decoding) for o in outputs))
            progress.advance(len(outputs) * share.processes)
        progress.done()
    return files


def join(files: Sequence[Path], path: Path) -> None:
    """Write files one behind the other into one, which appears whole; they are not held in memory."""
    with whole(path) as part, part.open("wb") as joined:
        for file in files:
            with file.open("rb") as content:
                shutil.copyfileobj(content, joined, 1 << 20)
        # On the disk before the parts go: they are the only other copy.
        joined.flush()
        os.fsync(joined.fileno())

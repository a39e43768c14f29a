"""The items whose answers moved between the base and the tuned model: gained, lost, or wrong in another way."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from holdfast.results import units
from holdfast.results.record_lines import objects_at, read_objects, to_record
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import AGAIN, Output, read_scores
from holdfast.results.summary import Summary, TaskResult
from holdfast.results.symptoms import plain
from holdfast.tasks.formats.stored import ReadOnDemand, chosen

Direction = Literal["lost", "gained", "both wrong"]
DIRECTIONS: tuple[Direction, ...] = ("lost", "gained", "both wrong")


@dataclass(frozen=True)
class Flip:
    """One item that moved, with both answers.

    lost, gained  its own score fell or rose
    both wrong    neither answer is right, and they are not the same
    """

    task: str
    role: str
    shots: int
    index: int
    direction: Direction
    input: str
    target: str
    base: str
    tuned: str


@dataclass(frozen=True)
class Flips:
    """All items that moved, and how many of each task were compared.

    Tasks stand by the share of their items that was lost, the worst first; items by their direction, lost ones first, and then by task.

    Attributes:
        items: Of a folder they stay in its file.
        compared: By task, all shots together.
        counts: How many moved in each direction, by task.
    """

    items: Sequence[Flip]
    compared: dict[str, int]
    counts: dict[str, dict[Direction, int]]

    def __bool__(self) -> bool:
        return bool(self.compared)

    @property
    def total(self) -> dict[Direction, int]:
        """Return how many items moved in each direction."""
        return {word: sum(counts[word] for counts in self.counts.values()) for word in DIRECTIONS}

    def first(self, most: int) -> list[Flip]:
        """Return at most so many in their order; of more, an equal part of each task's, its lost ones before its others."""
        left, taken = most, Counter[str]()
        by_task = {task: sum(counts.values()) for task, counts in self.counts.items()}
        # Smallest tasks first, so that what they do not need goes to the others.
        for number, task in enumerate(sorted(by_task, key=lambda task: by_task[task])):
            taken[task] = min(by_task[task], left // (len(by_task) - number))
            left -= taken[task]
        shown: list[Flip] = []
        for flip in self.items:
            if taken[flip.task]:
                taken[flip.task] -= 1
                shown.append(flip)
        return shown

    def of(self, direction: Direction) -> Sequence[Flip]:
        """Return the items that moved in one direction, in their order."""
        ends = dict(zip(DIRECTIONS, np.cumsum([0, *self.total.values()]).tolist(), strict=False))
        return chosen(self.items, range(ends[direction], ends[direction] + self.total[direction]))


def flips(outputs: Sequence[Output], summary: Summary) -> Flips:
    """Return the items that moved, of every task with answers on file, by its own metric and in the prompt state that counts."""
    moved = _moved(enumerate(outputs), summary)
    return moved.flips(tuple(moved.made(outputs[number] for number in moved.places())))


def of_folder(folder: Path) -> Flips:
    """Return all items that moved of a folder with scores and answers, however many: the answers stay in their file.

    Raises:
        ValueError: there are no scores or no answers.
    """
    summary, path = Summary.of(read_scores(folder)), RunFolder(folder).outputs_file
    if not path.exists():
        raise ValueError(f"{path}: there is no such file; is this the folder of a finished run?")
    moved = _moved(((line.at, to_record(Output, line, AGAIN)) for line in read_objects(path, AGAIN)), summary)
    return moved.flips(StoredFlips(path, moved))


class _Answers:
    """Columns of a cell's answers by which they are compared: number of the item, score (NaN: none), a hash of the text, and the place."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.indices, self.scores, self.texts, self.at = array("q"), array("d"), array("q"), array("q")

    def add(self, at: int, output: Output) -> None:
        self.indices.append(output.index)
        self.scores.append(output.scores.get(self.metric, np.nan))
        self.texts.append(hash(plain(output.output)))
        self.at.append(at)

    def ordered(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the items, ascending, and where each stands in the columns: where an item came twice, the last."""
        indices = np.asarray(self.indices)[::-1]
        different, first = np.unique(indices, return_index=True)
        return different, len(indices) - 1 - first


@dataclass(frozen=True)
class Moved:
    """The places of the two answers of each item that moved, by direction and line of the summary, in the order of `Flips`."""

    parts: list[tuple[TaskResult, Direction, np.ndarray, np.ndarray]]
    compared: dict[str, int]

    def flips(self, items: Sequence[Flip]) -> Flips:
        """Return them with the items themselves."""
        counted = Counter[tuple[str, Direction]]()
        for line, direction, old, _ in self.parts:
            counted[line.task, direction] += len(old)
        counts: dict[str, dict[Direction, int]] = {
            task: {word: counted[task, word] for word in DIRECTIONS} for task in self.compared
        }
        return Flips(items, self.compared, counts)

    def places(self, index: int = 0) -> Iterator[int]:
        """Yield the place of the base's answer and that of the tuned model's, in turn, from this item on."""
        for _, _, old, new in self.parts:
            yield from chain.from_iterable(zip(old[index:].tolist(), new[index:].tolist(), strict=True))
            index = max(0, index - len(old))

    def made(self, answers: Iterable[Output], index: int = 0) -> Iterator[Flip]:
        """Yield the items of answers that come as `places` has them."""
        answers = iter(answers)
        for line, direction, places, _ in self.parts:
            for _ in range(index, len(places)):
                old, new = next(answers), next(answers)
                yield Flip(
                    line.task, line.role, line.shots, new.index, direction, new.input, new.target, old.shown, new.shown
                )  # fmt: skip
            index = max(0, index - len(places))


class StoredFlips(ReadOnDemand[Flip]):
    """The items that moved, whose answers are read from their file when they are taken."""

    def __init__(self, path: Path, moved: Moved) -> None:
        self.path, self.moved = path, moved

    def __len__(self) -> int:
        return sum(len(old) for _, _, old, _ in self.moved.parts)

    def from_(self, index: int) -> Iterator[Flip]:
        """Yield the items from this number on.

        Raises:
            ValueError: the file was written to since.
        """
        lines = objects_at(self.path, self.moved.places(index), AGAIN)
        yield from self.moved.made((to_record(Output, line, AGAIN) for line in lines), index)


def _moved(outputs: Iterable[tuple[int, Output]], summary: Summary) -> Moved:
    lines = [*summary.by_own_metric("target"), *summary.by_own_metric("general")]
    cells: dict[tuple[str, int, str, str | None], _Answers] = {}
    for line in lines:
        for key in _keys(line):
            cells[key] = _Answers(line.metric)
    for at, output in outputs:
        if cell := cells.get((output.task, output.shots, output.variant, output.prompt)):
            cell.add(at, output)
    compared = Counter[str]()
    parts: list[tuple[TaskResult, Direction, np.ndarray, np.ndarray]] = []
    for line in lines:
        base, tuned = (cells[key] for key in _keys(line))
        (old, in_old), (new, in_new) = base.ordered(), tuned.ordered()
        _, both_old, both_new = np.intersect1d(old, new, assume_unique=True, return_indices=True)
        old, new = in_old[both_old], in_new[both_new]
        # A corpus metric has no value for one item, so that it can be said of none that it moved or stayed.
        valued = ~(np.isnan(np.asarray(base.scores)[old]) | np.isnan(np.asarray(tuned.scores)[new]))
        old, new = old[valued], new[valued]
        if len(old):
            compared[line.task] += len(old)
        for direction, moved in _directions(line, base, tuned, old, new).items():
            places = (np.asarray(base.at)[old[moved]], np.asarray(tuned.at)[new[moved]])
            parts.append((line, direction, *places))
    lost = Counter[str]()
    for line, direction, places, _ in parts:
        lost[line.task] += len(places) if direction == "lost" else 0
    # A stable order: tasks that lost alike, and the items of one, stay as the summary has them.
    tasks = sorted(compared, key=lambda task: -lost[task] / compared[task])
    rank = {task: number for number, task in enumerate(tasks)}
    parts.sort(key=lambda part: (DIRECTIONS.index(part[1]), rank.get(part[0].task, 0)))
    return Moved(parts, {task: compared[task] for task in tasks})


def _keys(line: TaskResult) -> tuple[tuple[str, int, str, str | None], tuple[str, int, str, str | None]]:
    """Return task, shots, variant and prompt of the answers of the base, and of those of the tuned model that count."""
    prompt = line.headline.prompt if line.headline else None
    return (line.task, line.shots, "base", None), (line.task, line.shots, "tuned", prompt)


def _directions(
    line: TaskResult, base: _Answers, tuned: _Answers, old: np.ndarray, new: np.ndarray
) -> dict[Direction, np.ndarray]:
    """Return for each direction which of the pairs moved so, `[N]` of truth values."""
    sign, full, scale = units.sign(line.metric), 100.0, units.factor(line.metric)
    before, after = (np.asarray(a.scores)[i] for a, i in ((base, old), (tuned, new)))
    first, second = (np.asarray(a.texts)[i] for a, i in ((base, old), (tuned, new)))
    change = sign * (after - before)
    wrong = (change == 0) & (first != second)
    wrong &= (before * scale < full) & (after * scale < full) if scale is not None else False
    return {"lost": change < 0, "gained": change > 0, "both wrong": wrong}

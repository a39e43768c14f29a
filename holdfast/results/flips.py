"""The items whose answers moved between the base and the tuned model: gained, lost, or wrong in another way."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.results import units
from holdfast.results.scores import Output, read_outputs, read_scores
from holdfast.results.summary import Summary, TaskResult
from holdfast.results.symptoms import plain

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
    """All items that moved, and how many of each task were compared: `counts` by task and direction, `compared` by task.

    Tasks stand by the share of their items that was lost, the worst first; items by their direction, lost ones first, and then by task.
    """

    items: list[Flip]
    compared: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.compared)

    @property
    def counts(self) -> dict[str, dict[Direction, int]]:
        """Return how many items of each task moved in each direction, all shots together; the worst task first."""
        counted = Counter((flip.task, flip.direction) for flip in self.items)
        return {task: {word: counted[task, word] for word in DIRECTIONS} for task in self.compared}

    @property
    def total(self) -> dict[Direction, int]:
        """Return how many items moved in each direction."""
        counted = Counter(flip.direction for flip in self.items)
        return {word: counted[word] for word in DIRECTIONS}

    def first(self, most: int) -> list[Flip]:
        """Return at most so many in their order; of more, an equal part of each task's, its lost ones before its others."""
        left, chosen = most, Counter[str]()
        by_task = Counter(flip.task for flip in self.items)
        # Smallest tasks first, so that what they do not need goes to the others.
        for number, task in enumerate(sorted(by_task, key=lambda task: by_task[task])):
            chosen[task] = min(by_task[task], left // (len(by_task) - number))
            left -= chosen[task]
        shown: list[Flip] = []
        for flip in self.items:
            if chosen[flip.task]:
                chosen[flip.task] -= 1
                shown.append(flip)
        return shown

    def of(self, direction: Direction) -> list[Flip]:
        """Return the items that moved in one direction, in their order."""
        return [flip for flip in self.items if flip.direction == direction]


def flips(outputs: Sequence[Output], summary: Summary) -> Flips:
    """Return the items that moved, of every task with answers on file, by its own metric and in the prompt state that counts."""
    answered: dict[tuple[str, int], dict[tuple[str, str | None], dict[int, Output]]] = {}
    for output in outputs:
        cell = answered.setdefault((output.task, output.shots), {})
        cell.setdefault((output.variant, output.prompt), {})[output.index] = output
    items: list[Flip] = []
    compared: dict[str, int] = {}
    for line in (*summary.first_metric("target"), *summary.first_metric("general")):
        cell = answered.get((line.task, line.shots), {})
        base = cell.get(("base", None), {})
        tuned = cell.get(("tuned", line.headline.prompt if line.headline else None), {})
        pairs = {index: (base[index], tuned[index]) for index in sorted(base.keys() & tuned.keys())}
        if pairs:
            compared[line.task] = compared.get(line.task, 0) + len(pairs)
            items += _moved(line, pairs)
    lost = Counter(flip.task for flip in items if flip.direction == "lost")
    # A stable order: tasks that lost alike, and the items of one, stay as the summary has them.
    tasks = sorted(compared, key=lambda task: -lost[task] / compared[task])
    rank = {task: number for number, task in enumerate(tasks)}
    items.sort(key=lambda flip: (DIRECTIONS.index(flip.direction), rank[flip.task]))
    return Flips(items, {task: compared[task] for task in tasks})


def of_folder(folder: Path) -> Flips:
    """Return all items that moved of a folder with scores and answers, however many.

    Raises:
        ValueError: there are no scores or no answers.
    """
    return flips(read_outputs(folder), Summary.of(read_scores(folder)))


def _moved(line: TaskResult, pairs: Mapping[int, tuple[Output, Output]]) -> list[Flip]:
    sign, full = units.sign(line.metric), 100.0
    scale = units.factor(line.metric)
    moved: list[Flip] = []
    for index, (old, new) in pairs.items():
        before, after = old.scores.get(line.metric), new.scores.get(line.metric)
        direction: Direction | None = None
        # A corpus metric has no value for one item, and then nothing can be said about one.
        if before is not None and after is not None:
            change = sign * (after - before)
            wrong = scale is not None and before * scale < full and after * scale < full
            if change:
                direction = "gained" if change > 0 else "lost"
            elif wrong and plain(old.output) != plain(new.output):
                direction = "both wrong"
        if direction:
            moved.append(
                Flip(
                    line.task, line.role, line.shots, index, direction, new.input, new.target, old.output, new.output
                )
            )  # fmt: skip
    return moved

"""Faults of a task's answers that no score shows: labels that differ in spelling alone, and labels of the test that no training row has."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.tasks.examples.splits import evenly
from holdfast.tasks.task import Example, Task

ROWS_OF_ONE = 5  # Answers that stand so often on average are labels; texts of their own are never alike.
MOST = 50_000  # examples of a split that are looked at, evenly spaced
NOT_SPELLING = re.compile(r"[\s.]+")


@dataclass(frozen=True)
class LabelFaults:
    """Groups of spellings of one label, and test labels without a training row, each with its number of items, of so many."""

    spellings: tuple[tuple[str, ...], ...] = ()
    untaught: tuple[tuple[str, int], ...] = ()
    test: int = 0

    def sentences(self, name: str) -> list[str]:
        """Return a warning for each fault, with what it does to the numbers."""
        lines = []
        if self.spellings:
            shown = ", ".join(map(repr, self.spellings[0]))
            others = len(self.spellings) - 1
            more = f", and so do those of {others} other label{'s' if others > 1 else ''}" if others else ""
            lines.append(
                f"{name}: the answers {shown} differ in case, spaces or full stops alone{more}; each is learned, and mostly counted, as a "
                "label of its own, so write them alike"
            )
        if self.untaught:
            shown = ", ".join(repr(label) for label, _ in self.untaught[:3])
            more = f" and {len(self.untaught) - 3} more" if len(self.untaught) > 3 else ""
            items = sum(count for _, count in self.untaught)
            lines.append(
                f"{name}: {items} of {self.test} test items have an answer that no training row has ({shown}{more}), so that it cannot be "
                "learned; add training rows of each, or leave these items out"
            )
        return lines


def answers(task: Task) -> LabelFaults:
    """Look at the answers of a task's training and test examples, where they are labels; of large splits, `MOST` of each."""
    train, test = _counted(task.splits.get("train", ())), _counted(task.splits.get("test", ()))
    taught = {_spelt(answer) for answer in train}
    for counts, labels in ((train, taught), (test, {_spelt(answer) for answer in test})):
        if sum(counts.values()) < ROWS_OF_ONE * len(labels):
            return LabelFaults()
    spellings: dict[str, list[str]] = defaultdict(list)
    for answer in sorted({*train, *test}):
        spellings[_spelt(answer)].append(answer)
    # One that is there in another spelling is named with that.
    untaught = tuple((answer, count) for answer, count in test.most_common() if taught and _spelt(answer) not in taught)
    alike = tuple(tuple(group) for group in spellings.values() if len(group) > 1)
    return LabelFaults(alike, untaught, sum(test.values()))


def _spelt(answer: str) -> str:
    # Of signs alone, such as "." and "..", nothing is left, and each is a label.
    return NOT_SPELLING.sub(" ", answer.casefold()).strip() or answer


def _counted(examples: Sequence[Example]) -> Counter[str]:
    return Counter(examples[index].target for index in evenly(len(examples), MOST))

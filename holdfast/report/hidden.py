"""Lost, or only hidden? A task that was lost, beside the same task in disguise (`leetspeak:TASK`): what is gone is gone in any spelling.

An ability that is merely covered by the habits of the tuned task comes back where the question looks like nothing it was tuned on
(conjugate prompting, arXiv 2309.10105). The rule, on paired changes from the base with 95 % intervals:

    hidden           in disguise, less than half of the loss remains, interval included
    lost             in disguise, more than half of the loss remains, interval included
    cannot be told   neither; or the base itself solves less than 10 of 100 in disguise, so that nothing could remain
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from holdfast.report import units, verdict
from holdfast.report.summary import Estimate, Line, Summary, change

LEAST = 10.0  # points: twice what a free answer is right by chance, generously
Word = Literal["hidden", "lost", "cannot be told"]


@dataclass(frozen=True)
class Pair:
    """A lost task, the same in disguise, and what that allows one to say."""

    plain: Line
    disguise: Line
    loss: Estimate
    remains: Estimate
    word: Word

    @property
    def spelling(self) -> str:
        """The name of the disguise."""
        return self.disguise.task.removesuffix(f":{self.plain.task}")

    def sentence(self) -> str:
        """The verdict in plain words."""
        where, task = self.spelling, f"{self.plain.task} ({self.plain.shots}-shot)"
        was, now = (
            f"{units.points(e.value, True)} points [{units.points(e.low)}, {units.points(e.high)}]"
            for e in (self.loss, self.remains)
        )
        if self.word == "hidden":
            return f"{task} is hidden rather than gone: asked in {where} the change is {now}, in plain words {was}."
        if self.word == "lost":
            return f"{task} is gone and not only hidden: asked in {where} the change is {now}, in plain words {was}."
        if self._weak:
            return (
                f"{task}: whether it is gone or hidden cannot be told, for the base itself hardly solves it in {where}."
            )
        return f"{task}: whether it is gone or hidden cannot be told at this n: in {where} {now}, in plain words {was}."

    @property
    def _weak(self) -> bool:
        return is_weak(self.disguise)


def pairs(summary: Summary) -> Iterator[Pair]:
    """Every lost (task, shots) of the general tasks that was also asked in disguise."""
    lines = {(line.task, line.shots, line.metric): line for line in summary.first_metric("general")}
    for line in lines.values():
        loss = change(line.headline)
        if not loss or not line.headline or verdict.of_score(line.headline) != "lost":
            continue
        for other in lines.values():
            remains = change(other.headline)
            if (
                other.task.endswith(f":{line.task}")
                and (other.shots, other.metric) == (line.shots, line.metric)
                and remains
            ):
                yield Pair(line, other, loss, remains, word(loss, remains, weak=is_weak(other)))


def is_weak(line: Line) -> bool:
    """Whether the base hardly solves the task: nothing could be hidden there."""
    if line.base is None:
        return True
    scale = units.factor(line.base.metric, line.base.value) or 1.0
    return line.base.low * scale < max(LEAST, 100 * line.base.chance)


def word(loss: Estimate, remains: Estimate, *, weak: bool) -> Word:
    """What the loss in plain words and the change in disguise say together; both in points, a loss is negative."""
    half = loss.value / 2
    if weak or half >= 0:
        return "cannot be told"
    if remains.low > half:
        return "hidden"
    return "lost" if remains.high < half else "cannot be told"

"""Lost, or only hidden? A task that was lost, beside the same task in disguise (`leetspeak:TASK`): what is gone is gone in any spelling.

An ability that is merely covered by the habits of the tuned task comes back where the question looks like nothing it was tuned on
(conjugate prompting, arXiv 2309.10105). Of the probes (`probe:LANGUAGE`), English is the plain one and the other languages disguise it.
A probe that is trained (`--probe eraser`) is a third look: a soft prompt that makes the tuned model answer as the base does.
The rule, on paired changes from the base with 95 % intervals:

    hidden   in disguise, less than half of the loss remains, interval included
    lost     in disguise, more than half of the loss remains, interval included
    unclear  neither; or the base itself solves less than 10 of 100 in disguise, so that nothing could remain
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from holdfast.report.sentences import interval
from holdfast.results import units, verdicts
from holdfast.results.summary import Estimate, Summary, TaskResult, change

LEAST = 10.0  # points: twice what a free answer is right by chance, generously
PROBE, PLAIN = "probe:", "english"
Word = Literal["hidden", "lost", "unclear"]


@dataclass(frozen=True)
class Erased:
    """A lost task, with its change from the base behind a trained probe, and the word that the two allow."""

    line: TaskResult
    loss: Estimate
    remains: Estimate
    word: Word

    def sentence(self) -> str:
        """Return the verdict in plain words."""
        task = f"{self.line.task} ({self.line.shots}-shot)"
        was, now = _in_points(self.loss), _in_points(self.remains)
        changes = f"behind the eraser the change is {now}, without it {was}"
        if self.word == "hidden":
            return f"{task} is hidden rather than gone: {changes}."
        if self.word == "lost":
            return f"{task} does not come back, so that nothing shows that it is only hidden: {changes}."
        if is_weak(self.line):
            return f"{task}: it is unclear whether it is gone or hidden, for the base itself hardly solves it."
        return f"{task}: it is unclear from these items whether it is gone or hidden: {changes}."


def erased(summary: Summary) -> Iterator[Erased]:
    """Yield every lost general (task, shots) that was also asked behind a probe."""
    for line in summary.by_own_metric("general"):
        loss, remains = change(line.headline), change(line.probe)
        if loss and remains and line.headline and verdicts.of_score(line.headline) == "lost":
            yield Erased(line, loss, remains, word(loss, remains, weak=is_weak(line)))


@dataclass(frozen=True)
class Pair:
    """A lost task, the same task in disguise, and the word (`hidden`, `lost` or `unclear`) that their changes allow."""

    plain: TaskResult
    disguise: TaskResult
    loss: Estimate
    remains: Estimate
    word: Word

    @property
    def spelling(self) -> str:
        """Return the name of the disguise."""
        name = self.disguise.task
        if name.startswith(PROBE):
            return name.removeprefix(PROBE).capitalize()
        return name.removesuffix(f":{self.plain.task}")

    def sentence(self) -> str:
        """Return the verdict in plain words."""
        where, task = self.spelling, f"{self.plain.task} ({self.plain.shots}-shot)"
        plainly = f"in {PLAIN.capitalize()}" if self.disguise.task.startswith(PROBE) else "in plain words"
        was, now = _in_points(self.loss), _in_points(self.remains)
        if self.word == "hidden":
            return f"{task} is hidden rather than gone: asked in {where} the change is {now}, {plainly} {was}."
        if self.word == "lost":
            return f"{task} is gone and not only hidden: asked in {where} the change is {now}, {plainly} {was}."
        if is_weak(self.disguise):
            return (
                f"{task}: it is unclear whether it is gone or hidden, for the base itself hardly solves it in {where}."
            )
        return (
            f"{task}: it is unclear from these items whether it is gone or hidden: in {where} {now}, {plainly} {was}."
        )


def pairs(summary: Summary) -> Iterator[Pair]:
    """Yield every lost (task, shots) that was also asked in disguise."""
    for plain, disguises in _beside(summary):
        loss = change(plain.headline)
        # Only what is lost by the run's own verdict: of a change that may be noise there is nothing that could be hidden.
        if not loss or not plain.headline or verdicts.of_score(plain.headline) != "lost":
            continue
        for other in disguises:
            if remains := change(other.headline):
                yield Pair(plain, other, loss, remains, word(loss, remains, weak=is_weak(other)))


def groups(summary: Summary) -> list[tuple[str, list[TaskResult]]]:
    """Return the diagnostics under their headings, each after the plain task that it disguises, where that was asked."""
    by_heading: dict[str, list[TaskResult]] = {}
    paired = _beside(summary)
    alone = [line for line in summary.by_own_metric("diagnostic") if not any(line in (p, *ds) for p, ds in paired)]
    for line in (*chain.from_iterable((plain, *disguises) for plain, disguises in paired), *alone):
        probe = PROBE in line.task
        heading = "Examples in context against an instruction" if probe else "In plain words and in disguise"
        by_heading.setdefault(heading, []).append(line)
    return list(by_heading.items())


def _in_points(estimate: Estimate) -> str:
    return f"{units.points(estimate.value, True)} points {interval(estimate)}"


def _beside(summary: Summary) -> list[tuple[TaskResult, list[TaskResult]]]:
    """Return each (task, shots) that was asked in disguise, with its disguises."""
    diagnostics = summary.by_own_metric("diagnostic")
    plain = [*summary.by_own_metric("general"), *diagnostics]  # the plain English probe is itself a diagnostic
    candidates = [(line, [other for other in diagnostics if _disguises(other, line)]) for line in plain]
    return [(line, disguises) for line, disguises in candidates if disguises]


def _disguises(line: TaskResult, plain: TaskResult) -> bool:
    """Return whether a line asks the same as another in disguise."""
    # Other shots or another metric would be a second difference beside the disguise.
    if (line.shots, line.metric) != (plain.shots, plain.metric):
        return False
    translated = line.task.startswith(PROBE) and plain.task == PROBE + PLAIN != line.task
    return translated or line.task.endswith(f":{plain.task}")


def is_weak(line: TaskResult) -> bool:
    """Return whether the base hardly solves the task: nothing could be hidden there."""
    if line.base is None:
        return True
    scale = units.factor(line.base.metric) or 1.0
    # The lower end of the interval: a base that may be guessing is taken for one that does.
    return line.base.low * scale < max(LEAST, 100 * line.base.chance)


def word(loss: Estimate, remains: Estimate, *, weak: bool) -> Word:
    """Return the word for a loss in plain words beside the change in disguise; both in points, a loss is negative."""
    half = loss.value / 2
    if weak or half >= 0:
        return "unclear"
    if remains.low > half:
        return "hidden"
    return "lost" if remains.high < half else "unclear"

"""From scores to what is said about a run: its lines, its gain, its retention, and a verdict in words.

All numbers here are in points: 0 to 100, whatever unit the metric is stored in, so that tasks can stand on one axis.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from holdfast.results import units, verdicts
from holdfast.results.chance import Standing, standing
from holdfast.results.means import PairedTask, over_shots, over_tasks, paired_task, ratio
from holdfast.results.scores import ROLES, Role, Score, Verdict
from holdfast.results.statistics import Estimate

# The soft prompt belongs to the target and is removed for everything else, so these are the scores that count.
HEADLINE: dict[Role, tuple[str | None, ...]] = {
    "target": ("on", None, "off"),
    "general": ("off", None, "on"),
    "diagnostic": ("off", None, "on"),
}
STATE = {"on": "prompt attached", "off": "prompt removed", None: "tuned", "probe": "behind a probe"}


@dataclass(frozen=True)
class TaskResult:
    """One task at one number of shots by one metric: the base's score, the tuned model's by prompt state, and that behind a probe."""

    task: str
    role: Role
    shots: int
    metric: str
    base: Score | None
    tuned: dict[str | None, Score] = field(hash=False)
    probe: Score | None = None

    @property
    def headline(self) -> Score | None:
        """The tuned score that counts: prompt attached on the target, removed on all others."""
        return next((self.tuned[state] for state in HEADLINE[self.role] if state in self.tuned), None)

    @property
    def chance(self) -> Standing | None:
        """Return where the base stands beside chance at these shots; None of a metric without a scale, and where no base was measured."""
        return standing(self.base) if self.base else None

    @property
    def floored(self) -> bool:
        """Return whether this is a general task on which the base is not shown to be above chance at these shots (`standing`).

        Nothing is known there that could be kept or lost, so such a line counts in no mean and gets no verdict. A target may well begin at
        chance.
        """
        return self.role == "general" and self.chance is not None and self.chance.word != "above"

    @property
    def verdict(self) -> Verdict | None:
        """Return the word for the score that counts; None where the base is at the floor, or nothing was compared."""
        return verdicts.of_score(self.headline) if self.headline and not self.floored else None

    @property
    def any(self) -> Score:
        """Return any score of the line, for what they share (n, template, decoding)."""
        score = self.headline or self.base
        assert score is not None  # `lines` makes no line without a score
        return score


def lines(scores: Sequence[Score]) -> list[TaskResult]:
    """Return the scores in lines: target first, then general tasks, then diagnostics, in the order of the file, shots ascending."""
    groups: dict[tuple[str, int, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.shots, score.metric), []).append(score)
    order = {task: index for index, task in enumerate(dict.fromkeys(score.task for score in scores))}
    results = []
    for (task, shots, metric), group in groups.items():
        base = next((score for score in group if score.variant == "base"), None)
        tuned = {score.prompt: score for score in group if score.variant == "tuned"}
        probe = tuned.pop("probe", None)  # No state of the model that is kept: in no figure, and in no mean.
        results.append(TaskResult(task, group[0].role, shots, metric, base, tuned, probe))
    return sorted(results, key=lambda line: (ROLES.index(line.role), order[line.task], line.shots))


def change(score: Score | None, name: Literal["delta", "transfer"] = "delta") -> Estimate | None:
    """Return a score's difference to the base (or its `transfer`) in points; None where it has none or its metric has no upper end."""
    if score is None or (scale := units.factor(score.metric)) is None:
        return None
    value, low, high = (getattr(score, f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return None
    # Without p: where lines are averaged it is no probability of the mean, and a score's verdict was made with its own.
    return Estimate(value, low, high, n=score.n).scaled(scale)


@dataclass(frozen=True)
class Shift:
    """The rise of a symptom on the general tasks at one number of shots: means over tasks, in points; `change` with its interval."""

    metric: str
    shots: int
    base: float
    tuned: float
    change: Estimate


@dataclass(frozen=True)
class Summary:
    """The gain, retention and symptoms of a run, computed from its lines. Build it with `Summary.of(scores)`."""

    lines: list[TaskResult]

    @classmethod
    def of(cls, scores: Sequence[Score], step: int | None = None) -> "Summary":
        """Return the summary of the weights that the run keeps, or of those after `step` steps."""
        # The base is measured once, so its scores have no step and stand beside every point of the course.
        return cls(lines([score for score in scores if score.variant == "base" or score.step == step]))

    def by_own_metric(self, role: Role) -> list[TaskResult]:
        """Return a role's lines by each task's own metric: the first in the file that judges the answers."""
        metrics: dict[str, str] = {}
        for line in self.lines:
            if not units.is_symptom(line.metric):
                metrics.setdefault(line.task, line.metric)
        return [line for line in self.lines if line.role == role and metrics.get(line.task) == line.metric]

    @cached_property
    def counted(self) -> list[TaskResult]:
        """Return the lines of general tasks that means and verdicts rest on: by each task's own metric, the base above chance."""
        return [line for line in self.by_own_metric("general") if not line.floored]

    @property
    def floored(self) -> list[TaskResult]:
        """Return the lines of general tasks that were compared and count in no mean, because the base is not shown above chance there."""
        return [line for line in _averaged(self.by_own_metric("general")) if line.floored]

    def symptom(self, metric: str) -> list[TaskResult]:
        """Return the lines of one symptom on general tasks."""
        # Not the target's: there, answers in the tuned task's format are what the run was for.
        return [line for line in self.lines if line.metric == metric and line.role == "general"]

    @property
    def symptoms(self) -> list[str]:
        """Return the symptoms that were measured on general tasks, in the order of the file."""
        metrics = dict.fromkeys(line.metric for line in self.lines if line.role == "general")
        return [metric for metric in metrics if units.is_symptom(metric)]

    @property
    def collapse(self) -> str | None:
        """Return the most telling symptom that was measured: the tuned task's format elsewhere, else any malformed answer."""
        # A target without a closed set of answers has no format_share, and then only malformed answers can be counted.
        return next((name for name in ("format_share", "collapse_share") if name in self.symptoms), None)

    def shift(self, metric: str) -> Shift | None:
        """Return where a symptom rose most on the general tasks: by the margin of a loss or more, and by its interval for certain."""
        shifts = []
        for shots in dict.fromkeys(line.shots for line in self.symptom(metric)):
            pairs = [
                (line.base, line.headline, moved)
                for line in self.symptom(metric)
                if line.shots == shots and line.base and line.headline and (moved := change(line.headline))
            ]
            if pairs:
                # By shots: a collapse at 0 shots that demonstrations cure would vanish in a mean over both.
                risen = over_tasks([over_shots([moved]) for _, _, moved in pairs]).estimate(len(pairs))
                before, after = _mean_points([old for old, _, _ in pairs]), _mean_points([new for _, new, _ in pairs])
                shifts.append(Shift(metric, shots, before, after, risen))
        shifts = [shift for shift in shifts if shift.change.low > 0 and shift.change.value >= verdicts.POINTS]
        return max(shifts, key=lambda shift: shift.change.value, default=None)

    @property
    def collapsed(self) -> list[Shift]:
        """Return the rises that a verdict must name: of the format (or of malformed answers), and of its labels at the first token."""
        names = [name for name in (self.collapse, "first_token_mass") if name]
        return [shift for name in names if (shift := self.shift(name))]

    @property
    def first_shots(self) -> list[TaskResult]:
        """Return the target's lines at the fewest shots, where the gain is read."""
        # There the model knows the task from its weights or its prompt alone; demonstrations would lend the base the format.
        target = self.by_own_metric("target")
        # Of each task: a document is asked behind no demonstrations, whatever the others are.
        fewest: dict[str, int] = {}
        for line in target:
            fewest[line.task] = min(line.shots, fewest.get(line.task, line.shots))
        return [line for line in target if line.shots == fewest[line.task]]

    @cached_property
    def gain(self) -> Estimate | None:
        """Return the points gained on the target at the fewest shots (the mean, where a run has several targets)."""
        lines = _averaged(self.first_shots)
        return _mean([(line.task, estimate) for line in lines if (estimate := change(line.headline))])

    @property
    def gain_word(self) -> Verdict | None:
        """Return the verdict on `gain`: that of its score, or of the mean where there are several targets."""
        if not self.gain:
            return None
        headlines = [line.headline for line in _averaged(self.first_shots)]
        if len(headlines) == 1 and headlines[0]:  # the score's own, which was corrected for the number of tasks
            return verdicts.of_score(headlines[0])
        return verdicts.verdict(self.gain, margin=verdicts.POINTS)[0]

    @cached_property
    def target_value(self) -> Estimate | None:
        """Return the tuned model's own score where `gain` is read, in points, with its interval."""
        # Of the lines that `gain` averages and no others, so that this value minus the gain is the base's.
        headlines = [line.headline for line in _averaged(self.first_shots)]
        return _mean([(score.task, _in_points(score)) for score in headlines if score])

    @property
    def sequence(self) -> list[TaskResult]:
        """Return the target's lines whose model was moved on by later targets: those of the earlier targets of a sequence."""
        targets = self.by_own_metric("target")
        return [line for line in targets if line.headline and line.headline.transfer is not None]

    @cached_property
    def transfer(self) -> Estimate | None:
        """Return the backward transfer (BWT): the earlier targets' scores at the end minus right after their own stages, mean, in points.

        At the fewest shots, where the gain is read. Negative is forgetting.

        Source: Lopez-Paz and Ranzato 2017, "Gradient episodic memory for continual learning" (NeurIPS), section 2
        """
        changes = [
            (line.task, change(line.headline, "transfer")) for line in self.first_shots if units.sign(line.metric) > 0
        ]
        return _mean([(task, moved) for task, moved in changes if moved])

    @cached_property
    def _general(self) -> list[PairedTask]:
        """Return the general tasks that a mean may hold, each with its shots."""
        pairs: dict[str, list[tuple[Score, Score, Estimate]]] = {}
        for line in _averaged(self.counted):
            if line.base and line.headline and (moved := change(line.headline)):
                pairs.setdefault(line.task, []).append((line.base, line.headline, moved))
        return [paired_task(group, units.factor(group[0][0].metric) or 1.0) for group in pairs.values()]

    @property
    def assumes_errors(self) -> bool:
        """Return whether records of an older version lack the covariances, so that several shots are taken to err as one."""
        return any(task.covariance is None for task in self._general)

    @cached_property
    def general_change(self) -> Estimate | None:
        """Return the mean change over the general tasks that count, in points, all shots; `n` counts tasks."""
        tasks = self._general
        return over_tasks([task.parts[2] for task in tasks]).estimate(len(tasks)) if tasks else None

    @cached_property
    def retention(self) -> Estimate | None:
        """Return the tuned model's mean score over the general tasks, in per cent of the base's mean (`holdfast.results.means.ratio`).

        Tasks at numbers of shots at which the base is not shown to be above chance are left out (`TaskResult.floored`). None where none is
        left, or where the base's mean is not above chance (of a task without choices: zero) by more than its 95 % interval reaches down:
        then it is unclear whether there was anything to keep.
        """
        if not self._general:
            return None
        base = over_tasks([task.parts[0] for task in self._general])
        chance = _task_means((line.task, _chance(line.base)) for line in _averaged(self.counted) if line.base)
        kept = ratio(self._general)
        if kept is None or base.value - base.below <= math.fsum(chance) / len(chance):
            return None
        return kept.scaled(100.0)

    @cached_property
    def mean_scores(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Return two pairs (base, tuned) over the general tasks, in points; None where nothing was compared.

        First the plain mean of ProMoT's paper, then the mean of what is above chance, as a share of what chance leaves. Each task counts
        once, whatever its number of shots.
        """
        pairs = [(line.task, line.base, line.headline) for line in _averaged(self.counted)]
        both = [(task, base, tuned) for task, base, tuned in pairs if base and tuned]
        if not both:
            return None

        def mean(of: Callable[[Score], float]) -> tuple[float, float]:
            old = _task_means((task, of(base)) for task, base, _ in both)
            new = _task_means((task, of(tuned)) for task, _, tuned in both)
            return math.fsum(old) / len(old), math.fsum(new) / len(new)

        def above_chance(score: Score) -> float:
            room = (100 - _chance(score)) or 100  # with a single choice all is chance, and nothing is left to divide by
            return 100 * (_points(score) - _chance(score)) / room

        return mean(_points), mean(above_chance)

    @cached_property
    def noise(self) -> tuple[float, TaskResult] | None:
        """Return the largest difference between two measurements of the base, in points, and its line; None where it was measured once."""
        differences = [
            (abs(line.base.again - line.base.value) * scale, line)
            for line in [*self.by_own_metric("target"), *self.by_own_metric("general")]
            if line.base and line.base.again is not None and (scale := units.factor(line.metric))
        ]
        return max(differences, key=lambda pair: pair[0]) if differences else None

    def by_verdict(self, role: Role) -> dict[Verdict, list[TaskResult]]:
        """Return the role's lines by their verdicts (own metric of each task, the prompt state that counts), without floored ones."""
        groups: dict[Verdict, list[TaskResult]] = {}
        for line in self.counted if role == "general" else self.by_own_metric(role):
            if line.verdict:
                groups.setdefault(line.verdict, []).append(line)
        return groups


def share(results: Sequence[TaskResult]) -> tuple[float, float] | None:
    """Return the (base, tuned) means of a symptom over its lines, in points, in the prompt state that counts; None without a pair."""
    both = [line for line in results if line.base and line.headline]
    if not both:
        return None
    return _mean_points([line.base for line in both]), _mean_points([line.headline for line in both])


def _mean_points(scores: Sequence[Score | None]) -> float:
    return math.fsum(_points(score) for score in scores) / len(scores)


def _points(score: Score | None) -> float:
    assert score is not None
    return score.value * (units.factor(score.metric) or 1.0)


def _chance(score: Score) -> float:
    return 100 * score.chance


def _averaged(results: Sequence[TaskResult]) -> list[TaskResult]:
    """Return the lines that a mean may hold: more is better, 0 to 100, and measured on both models."""
    # A perplexity has no points, and its fall would be averaged with the rise of an accuracy.
    return [line for line in results if line.base and change(line.headline) and units.sign(line.metric) > 0]


def _task_means(values: Iterable[tuple[str, float]]) -> list[float]:
    groups: dict[str, list[float]] = {}
    for task, value in values:
        groups.setdefault(task, []).append(value)
    return [math.fsum(group) / len(group) for group in groups.values()]


def _in_points(score: Score) -> Estimate:
    scale = units.factor(score.metric) or 1.0
    return Estimate(score.value, score.low, score.high, score.stderr, score.n).scaled(scale)


def _mean(values: Sequence[tuple[str, Estimate]]) -> Estimate | None:
    """Return the mean over tasks of (task, estimate) pairs; `n` counts tasks, or items where there is one pair only."""
    if not values:
        return None
    groups: dict[str, list[Estimate]] = {}
    for task, estimate in values:
        groups.setdefault(task, []).append(estimate)
    # The shots of a task first, then tasks: a task asked at three numbers of shots must not weigh three times.
    n = values[0][1].n if len(values) == 1 else len(groups)
    return over_tasks([over_shots(group) for group in groups.values()]).estimate(n)

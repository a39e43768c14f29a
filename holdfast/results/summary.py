"""From scores to what is said about a run: its lines, its gain, its retention, and a verdict in words.

All numbers here are in points: 0 to 100, whatever unit the metric is stored in, so that tasks can stand on one axis.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from holdfast.results import units, verdicts
from holdfast.results.means import PairedTask, over_shots, over_tasks, paired_task, ratio
from holdfast.results.scores import ROLES, Role, Score, Verdict
from holdfast.results.statistics import Estimate

# The soft prompt belongs to the target and is removed for everything else, so these are the scores that count.
HEADLINE: dict[Role, tuple[str | None, ...]] = {
    "target": ("on", None, "off"),
    "general": ("off", None, "on"),
    "diagnostic": ("off", None, "on"),
}
STATE = {"on": "prompt attached", "off": "prompt removed", None: "tuned"}


@dataclass(frozen=True)
class TaskResult:
    """One task at one number of shots by one metric: the base's score and the tuned model's, by prompt state."""

    task: str
    role: Role
    shots: int
    metric: str
    base: Score | None
    tuned: dict[str | None, Score] = field(hash=False)

    @property
    def headline(self) -> Score | None:
        """The tuned score that counts: prompt attached on the target, removed on all others."""
        return next((self.tuned[state] for state in HEADLINE[self.role] if state in self.tuned), None)

    @property
    def any(self) -> Score:
        """Some score of the line, for what they share (n, template, decoding)."""
        found = self.headline or self.base
        assert found is not None
        return found


def lines(scores: Sequence[Score]) -> list[TaskResult]:
    """Scores grouped into lines: target first, then general tasks, then diagnostics, in the order of the file, shots ascending."""
    groups: dict[tuple[str, int, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.task, score.shots, score.metric), []).append(score)
    order = {task: place for place, task in enumerate(dict.fromkeys(score.task for score in scores))}
    found = []
    for (task, shots, metric), group in groups.items():
        base = next((score for score in group if score.variant == "base"), None)
        tuned = {score.prompt: score for score in group if score.variant == "tuned"}
        found.append(TaskResult(task, group[0].role, shots, metric, base, tuned))
    return sorted(found, key=lambda line: (ROLES.index(line.role), order[line.task], line.shots))


def change(score: Score | None, name: str = "delta") -> Estimate | None:
    """A score's difference to the base (or its `transfer`) in points; None where there is none, or where the metric has no upper end."""
    scale = units.factor(score.metric) if score else None
    value, low, high = (getattr(score, f"{name}{end}", None) for end in ("", "_low", "_high"))
    if score is None or scale is None or value is None or low is None or high is None:
        return None
    return Estimate(value, low, high, n=score.n).scaled(scale)


@dataclass(frozen=True)
class Shift:
    """How far a symptom rose on the general tasks at so many shots: means over tasks, in points; `change` with its interval."""

    metric: str
    shots: int
    base: float
    tuned: float
    change: Estimate


@dataclass(frozen=True)
class Summary:
    """What a run is said to have gained and kept. Build it with `Summary.of(scores)`."""

    lines: list[TaskResult]

    @classmethod
    def of(cls, scores: Sequence[Score], step: int | None = None) -> "Summary":
        """Of the weights that the run keeps, or of those after `step` steps."""
        return cls(lines([score for score in scores if score.variant == "base" or score.step == step]))

    def first_metric(self, role: Role) -> list[TaskResult]:
        """A role's lines by each task's own metric: the first in the file that judges the answers."""
        own: dict[str, str] = {}
        for line in self.lines:
            if not units.is_symptom(line.metric):
                own.setdefault(line.task, line.metric)
        return [line for line in self.lines if line.role == role and own.get(line.task) == line.metric]

    def symptom(self, metric: str) -> list[TaskResult]:
        """The lines of one symptom on general tasks."""
        return [line for line in self.lines if line.metric == metric and line.role == "general"]

    @property
    def symptoms(self) -> list[str]:
        """The symptoms that were measured on general tasks, in the order of the file."""
        found = dict.fromkeys(line.metric for line in self.lines if line.role == "general")
        return [metric for metric in found if units.is_symptom(metric)]

    @property
    def collapse(self) -> str | None:
        """The symptom that tells most of what was measured: the tuned task's format elsewhere, else any malformed answer."""
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
                risen = over_tasks([over_shots([moved]) for _, _, moved in pairs]).estimate(len(pairs))
                before, after = _mean_points([old for old, _, _ in pairs]), _mean_points([new for _, new, _ in pairs])
                shifts.append(Shift(metric, shots, before, after, risen))
        shifts = [shift for shift in shifts if shift.change.low > 0 and shift.change.value >= verdicts.POINTS]
        return max(shifts, key=lambda shift: shift.change.value, default=None)

    @property
    def collapsed(self) -> list[Shift]:
        """The rises that a verdict must name: of the format (or of malformed answers), and of its labels at the first token."""
        names = [name for name in (self.collapse, "first_token_mass") if name]
        return [shift for name in names if (shift := self.shift(name))]

    @property
    def _first_shots(self) -> list[TaskResult]:
        """The target's lines at the fewest shots, where the gain is read."""
        target = self.first_metric("target")
        return [line for line in target if line.shots == min(other.shots for other in target)]

    @cached_property
    def gain(self) -> Estimate | None:
        """Points gained on the target at the fewest shots (the mean, where a run has several targets)."""
        return _mean_change(self._first_shots)

    @property
    def gain_word(self) -> Verdict | None:
        """The verdict on `gain`: that of its score, or of the mean where there are several targets."""
        if not self.gain:
            return None
        found = [line.headline for line in _averaged(self._first_shots)]
        if len(found) == 1 and found[0]:
            return verdicts.of_score(found[0])
        return verdicts.verdict(self.gain, margin=verdicts.POINTS)[0]

    @cached_property
    def target_value(self) -> Estimate | None:
        """The tuned model's own score where `gain` is read, in points, with its interval."""
        found = [line.headline for line in _averaged(self._first_shots)]
        return _mean([(score.task, _in_points(score)) for score in found if score])

    @property
    def sequence(self) -> list[TaskResult]:
        """The target's lines whose model was moved on by later targets: those of the earlier targets of a sequence."""
        found = self.first_metric("target")
        return [line for line in found if line.headline and line.headline.transfer is not None]

    @cached_property
    def transfer(self) -> Estimate | None:
        """Backward transfer (BWT): the earlier targets' scores at the end minus right after their own stages, mean, in points.

        At the fewest shots, where the gain is read. Negative is forgetting.

        Source: Lopez-Paz and Ranzato 2017, "Gradient episodic memory for continual learning" (NeurIPS), section 2
        """
        found = [
            (line.task, change(line.headline, "transfer")) for line in self._first_shots if units.sign(line.metric) > 0
        ]
        return _mean([(task, moved) for task, moved in found if moved])

    @cached_property
    def _general(self) -> list[PairedTask]:
        """The general tasks that a mean may hold, each with its shots."""
        pairs: dict[str, list[tuple[Score, Score, Estimate]]] = {}
        for line in _averaged(self.first_metric("general")):
            if line.base and line.headline and (moved := change(line.headline)):
                pairs.setdefault(line.task, []).append((line.base, line.headline, moved))
        return [paired_task(found, units.factor(found[0][0].metric) or 1.0) for found in pairs.values()]

    @property
    def assumes_errors(self) -> bool:
        """Whether records of an older version leave open how errors go together: several shots are then taken to err as one."""
        return any(task.covariance is None for task in self._general)

    @cached_property
    def general_change(self) -> Estimate | None:
        """Mean change over the general tasks, in points, all shots; `n` counts tasks."""
        tasks = self._general
        return over_tasks([task.parts()[2] for task in tasks]).estimate(len(tasks)) if tasks else None

    @cached_property
    def retention(self) -> Estimate | None:
        """The tuned model's mean score over the general tasks, in per cent of the base's mean (`holdfast.results.means.ratio`).

        None where no general task was compared, or where it is not resolvable: the base's mean is not above chance (of a task without
        choices: zero) by more than its 95 % interval reaches down, so that nothing is known to have been there.
        """
        if not self._general:
            return None
        base = over_tasks([task.parts()[0] for task in self._general])
        chance = _task_means(
            (line.task, _chance(line.base)) for line in _averaged(self.first_metric("general")) if line.base
        )
        kept = ratio(self._general)
        return kept and kept.scaled(100.0) if base.value - base.below > math.fsum(chance) / len(chance) else None

    @cached_property
    def means(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """(base, tuned) over the general tasks, in points: the plain mean of ProMoT's paper, and the mean of what is above chance, as a
        share of what chance leaves. Each task counts once; None where nothing was compared.
        """
        pairs = [(line.task, line.base, line.headline) for line in _averaged(self.first_metric("general"))]
        both = [(task, base, tuned) for task, base, tuned in pairs if base and tuned]
        if not both:
            return None

        def mean(of: Callable[[Score], float]) -> tuple[float, float]:
            old = _task_means((task, of(base)) for task, base, _ in both)
            new = _task_means((task, of(tuned)) for task, _, tuned in both)
            return math.fsum(old) / len(old), math.fsum(new) / len(new)

        def above_chance(score: Score) -> float:
            return (
                100 * (_points(score) - _chance(score)) / ((100 - _chance(score)) or 100)
            )  # of one choice all is chance

        return mean(_points), mean(above_chance)

    @cached_property
    def noise(self) -> tuple[float, TaskResult] | None:
        """The largest difference between the two measurements of the base, in points, and where; None where there was one only."""
        found = [
            (abs(line.base.again - line.base.value) * scale, line)
            for line in [*self.first_metric("target"), *self.first_metric("general")]
            if line.base and line.base.again is not None and (scale := units.factor(line.metric))
        ]
        return max(found, key=lambda pair: pair[0]) if found else None

    def words(self, role: Role) -> dict[Verdict, list[TaskResult]]:
        """The role's lines by their verdicts (own metric of each task, the prompt state that counts)."""
        found: dict[Verdict, list[TaskResult]] = {}
        for line in self.first_metric(role):
            said = verdicts.of_score(line.headline) if line.headline else None
            if said:
                found.setdefault(said, []).append(line)
        return found


def share(found: Sequence[TaskResult]) -> tuple[float, float] | None:
    """(base, tuned) means of a symptom over its lines, in points; the prompt state that counts."""
    both = [line for line in found if line.base and line.headline]
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


def _averaged(found: Sequence[TaskResult]) -> list[TaskResult]:
    """The lines that a mean may hold: more is better, 0 to 100, and measured on both models."""
    return [line for line in found if line.base and change(line.headline) and units.sign(line.metric) > 0]


def _task_means(values: Iterable[tuple[str, float]]) -> list[float]:
    groups: dict[str, list[float]] = {}
    for task, value in values:
        groups.setdefault(task, []).append(value)
    return [math.fsum(group) / len(group) for group in groups.values()]


def _in_points(score: Score) -> Estimate:
    scale = units.factor(score.metric) or 1.0
    return Estimate(score.value, score.low, score.high, score.stderr, score.n).scaled(scale)


def _mean_change(found: Sequence[TaskResult]) -> Estimate | None:
    return _mean([(line.task, estimate) for line in _averaged(found) if (estimate := change(line.headline))])


def _mean(found: Sequence[tuple[str, Estimate]]) -> Estimate | None:
    """Return the mean over tasks of what was found of each; `n` counts tasks, or items where there is one number only."""
    if not found:
        return None
    groups: dict[str, list[Estimate]] = {}
    for task, estimate in found:
        groups.setdefault(task, []).append(estimate)
    n = found[0][1].n if len(found) == 1 else len(groups)
    return over_tasks([over_shots(group) for group in groups.values()]).estimate(n)

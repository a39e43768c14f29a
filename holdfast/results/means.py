"""Means over tasks and their ratio, with 95 % intervals: the one formula behind gain, change, retention and transfer.

A task asked at several numbers of shots is one task: the shots are asked of the same items, so their errors are correlated, and
`Score.covariances` says how much. Tasks are independent. Sides are treated by themselves, so that lopsided intervals stay lopsided
(MOVER: Zou and Donner 2008, "Construction of confidence limits about effect measures"; Donner and Zou 2012 for ratios).
`tests/results/test_retention_coverage.py` holds what the interval of the ratio is worth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from holdfast.results.metric_rule import Array
from holdfast.results.scores import Score
from holdfast.results.statistics import Estimate, Z, falls_to

ROUNDS = 12  # of a fixed point: after half of them the parts move by less than 1 %


@dataclass(frozen=True)
class Part:
    """A mean in points, the distances `below` and `above` to its 95 % limits, and its variance; of one task, or of several."""

    value: float
    below: float
    above: float
    variance: float

    def estimate(self, n: int) -> Estimate:
        """Return the mean as an estimate of `n` items or tasks."""
        return Estimate(self.value, self.value - self.below, self.value + self.above, math.sqrt(self.variance), n)


def over_shots(values: Sequence[Estimate], covariance: Array | None = None) -> Part:
    """Return the mean of one task's numbers at several shots, whose errors have `covariance [K, K]`.

    Without it the errors are taken to go together, which can only widen, and to be of the size that the records say.
    """
    if covariance is None:
        # The outer product is the covariance at correlation 1, the greatest that these errors can have.
        errors = np.array([_error(estimate) for estimate in values])
        covariance, correlations = np.outer(errors, errors), np.ones((len(values), len(values)))
    else:
        correlations = _correlations(covariance)
    variances = np.diag(covariance)
    below = np.array([estimate.value - estimate.low for estimate in values])
    above = np.array([estimate.high - estimate.value for estimate in values])
    # fsum: the mean must not depend on the order in which the tasks or shots were written down.
    mean = math.fsum(estimate.value for estimate in values) / len(values)
    return Part(
        mean,
        _reach(below, variances, correlations),
        _reach(above, variances, correlations),
        max(0.0, float(covariance.mean())),  # 0: an estimated covariance may sum to a rounding error below it
    )


def over_tasks(parts: Sequence[Part]) -> Part:
    """Return the mean of independent tasks, each with the same weight."""
    independent = np.eye(len(parts))  # different tasks ask different items, so their errors do not go together
    variances = np.array([part.variance for part in parts])
    below, above = (np.array([getattr(part, side) for part in parts]) for side in ("below", "above"))
    mean = math.fsum(part.value for part in parts) / len(parts)
    return Part(
        mean,
        _reach(below, variances, independent),
        _reach(above, variances, independent),
        float(variances.sum()) / len(parts) ** 2,
    )


def _reach(sides: Array, variances: Array, correlations: Array) -> float:
    """Return how far the limit of a mean lies from it, from the distances to its K parts' limits and their variances at the estimates.

    The limit of one part lies where its own variance would be smaller or larger than at the estimate. In a mean each part moves by its
    share of that way only, so its variance is taken there, in a straight line between that at the estimate and that at its limit. Plain
    MOVER takes the limit's: for rare answers in six tasks its lower limit misses in 9 % instead of 2.5 %.
    """
    if len(sides) == 1:
        return float(sides[0])  # The limit of a mean of one is that of the one: the rounds below end where they begin.
    limits, moved = (sides / Z) ** 2, (sides / Z) ** 2
    for _ in range(ROUNDS):
        errors = np.sqrt(moved)
        shared = errors * (correlations @ errors)
        total = float(shared.sum())
        if (
            total <= 0
        ):  # errors that cancel exactly, or none at all: the mean cannot move, and there is nothing to divide by
            return 0.0
        # How far each part goes towards its limit when the mean reaches its own; a part without a distance is at its limit already.
        part = np.divide(Z * shared / math.sqrt(total), sides, out=np.ones_like(sides), where=sides > 0)
        moved = np.maximum(0.0, variances + (limits - variances) * np.clip(part, 0.0, 1.0))
    errors = np.sqrt(moved)
    return Z * math.sqrt(max(0.0, float(errors @ correlations @ errors))) / len(sides)


@dataclass(frozen=True)
class PairedTask:
    """One task's scores of the base and of the tuned model, in points and in the order of its shots, on the same items.

    `change` holds the paired differences. `covariance [2K, 2K]` is that of the K base values and the K tuned values, where the records
    hold it (`Score.covariances`); older records do not, and then it follows from the intervals, with shots that err together.
    """

    base: tuple[Estimate, ...]
    tuned: tuple[Estimate, ...]
    change: tuple[Estimate, ...]
    covariance: Array | None

    @cached_property
    def parts(self) -> tuple[Part, Part, Part]:
        """Return the means over shots of base, tuned and change."""
        if self.covariance is None:
            return over_shots(self.base), over_shots(self.tuned), over_shots(self.change)
        shots = len(self.base)
        old, new = self.covariance[:shots, :shots], self.covariance[shots:, shots:]
        across = self.covariance[:shots, shots:]
        moved = old + new - across - across.T  # Cov(t_i - b_i, t_j - b_j); `across` is not symmetric when shots differ
        return over_shots(self.base, old), over_shots(self.tuned, new), over_shots(self.change, moved)

    def covariances(self) -> Array:
        """Return the covariance `[2, 2]` of the base's and the tuned model's means over shots."""
        shots = len(self.base)
        if self.covariance is not None:
            return self.covariance.reshape(2, shots, 2, shots).mean((1, 3))
        base, tuned, change = (part.variance for part in self.parts)
        # Var(change) = base + tuned - 2 * shared, solved for `shared`. The three variances come from three separate
        # intervals, so the result may leave the range that a covariance can have.
        bound = math.sqrt(base * tuned)
        shared = min(bound, max(-bound, (base + tuned - change) / 2))
        return np.array([[base, shared], [shared, tuned]])


def paired_task(pairs: Sequence[tuple[Score, Score, Estimate]], factor: float) -> PairedTask:
    """Return one task's (base, tuned, change in points) at each of its shots; `factor` turns the scores' unit into points."""
    base, tuned = [old for old, _, _ in pairs], [new for _, new, _ in pairs]
    values = [[Estimate(s.value, s.low, s.high, s.stderr, s.n).scaled(factor) for s in side] for side in (base, tuned)]
    covariance = np.array([[_covariance(a, b) for b in (*base, *tuned)] for a in (*base, *tuned)])
    # All or nothing: a matrix with some entries guessed need not be positive semidefinite.
    known = None if np.isnan(covariance).any() else covariance * factor**2
    return PairedTask(tuple(values[0]), tuple(values[1]), tuple(change for _, _, change in pairs), known)


def ratio(tasks: Sequence[PairedTask]) -> Estimate | None:
    """Return the tuned model's mean over tasks as a share of the base's mean, with its interval; None where that has no upper end.

    A ratio of means and not a mean of ratios: a task on which the base is near zero would otherwise decide everything. The limits are
    the shares R at which tuned - R * base could just be zero. That difference is written so that its two terms err as independently as
    they can: R * change + (1 - R) * tuned for R below 1, change - (R - 1) * base above; at R = 1 it is the change itself.
    """
    parts = [task.parts for task in tasks]
    base, tuned, change = (over_tasks(column) for column in zip(*parts, strict=True))
    # A base whose interval reaches zero leaves the ratio without an upper end; 1e-9 takes rounding for zero.
    if base.value <= 0 or base.value - base.below <= 1e-9 * base.value:
        return None
    (old, shared), (_, new) = sum(task.covariances() for task in tasks) / len(tasks) ** 2  # pyright: ignore[reportGeneralTypeIssues]
    moved = old + new - 2 * shared
    with_tuned, with_base = _correlation(new - shared, moved, new), _correlation(shared - old, moved, old)

    def limit(share: float, side: str) -> float:
        """Return the lower (`below`) or upper (`above`) limit of tuned - share * base."""
        first = getattr(change, side) * min(1.0, share)
        if share <= 1:
            second, correlation = getattr(tuned, side) * (1 - share), with_tuned
        else:
            other = base.below if side == "above" else base.above  # the base is subtracted
            second, correlation = other * (share - 1), -with_base
        half = math.sqrt(max(0.0, first**2 + second**2 + 2 * correlation * first * second))
        return tuned.value - share * base.value + (half if side == "above" else -half)

    value = tuned.value / base.value
    most = max(1.0, value)
    while limit(most, "above") >= 0:  # ends: the base's lower limit is above zero, so a large share is excluded at last
        most *= 2
    low = falls_to(0.0, lambda share: limit(share, "below"), 0.0, value)
    high = falls_to(0.0, lambda share: limit(share, "above"), value, most)
    return Estimate(value, low, high, n=len(tasks))


def _error(estimate: Estimate) -> float:
    """Return the standard error; where the record has none, the one that the interval's width says."""
    return estimate.stderr if estimate.stderr > 0 else (estimate.high - estimate.low) / (2 * Z)


def _covariance(a: Score, b: Score) -> float:
    """Return the sampling covariance of two scores on the same items; NaN where neither record holds it."""
    # Either may hold it: a tuned score records its covariance with the base's, the base's own record has none with it.
    return a.covariances.get(b.answered, b.covariances.get(a.answered, math.nan))


def _correlations(covariance: Array) -> Array:
    """Return correlations `[K, K]`; of what never varied, 1, as of shots that err together."""
    pairs = product(range(len(covariance)), repeat=2)
    values = [
        _correlation(covariance[i, j], covariance[i, i], covariance[j, j], undefined=1.0) if i != j else 1.0
        for i, j in pairs
    ]
    return np.array(values).reshape(covariance.shape)


def _correlation(covariance: float, first: float, second: float, undefined: float = 0.0) -> float:
    both = first * second
    # Clipped: rounding may bring the correlation of two equal series above 1, and a square root below zero with it.
    return max(-1.0, min(1.0, covariance / math.sqrt(both))) if both > 0 else undefined

"""The win rate that a judge's decisions stand for: its own errors measured on pairs with known answers, and taken out.

A pair is asked in both orders, and its preference y is the mean of both decisions, +1 for the second answer, -1 for the first, 0 for a
tie: an effect of the order alone cancels in it. A judge follows quality and length:

    E[y] = b * (which answer is longer) + s * (which answer is better)

`s` is the sensitivity: with the longer answer right a judge prefers it with the rate Se, with the longer one wrong the shorter with Sp,
and s = Se + Sp - 1, b = Se - Sp where it never ties. So tuned minus base is (mean y - b * mean length) / s, which is the estimate of Rogan
and Gladen (1978). Pairs of like length have a sensitivity of their own, and no b.

Pairs of equal quality whose lengths differ say whether b is the same there. How many of the user's pairs are equal is not known, so
both values of b are taken, and the interval is the union of both. Intervals are percentiles of a Bayesian bootstrap (Rubin 1981) over the
user's pairs and the calibration together, with half an observation at each end of the scale, so that what was never seen is not taken for
impossible (Lang and Reiczigel 2014 add pseudo-observations to the delta method for the same reason).
`tests/results/test_statistics_judge.py` simulates their coverage.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.results.metric_rule import Array
from holdfast.results.scores import OLDER_WORD
from holdfast.results.statistics import LEVEL, Estimate

DRAWS = 4_000
FEWEST_KNOWN = 20  # pairs of which an answer is right and the other wrong, below which nothing is said of a judge
FEWEST_CELL = 5  # pairs of a sort from which a number of its own is taken
LONGER_BY, LONGER_TIMES = 10, 1.25  # characters and factor from which on one answer is the longer one
JudgeVerdict = Annotated[Literal["tuned preferred", "base preferred", "unclear", "no verdict"], OLDER_WORD]


def longer(first: str, second: str) -> int:
    """Return +1 where the second text is the longer one, -1 where the first is, 0 where they are of like length."""
    short, long = sorted((len(first), len(second)))
    if long - short <= LONGER_BY or long <= LONGER_TIMES * short:
        return 0
    return 1 if len(second) > len(first) else -1


@dataclass(frozen=True)
class Preferences:
    """Pairs as a judge decided them, all `[n]`.

    Attributes:
        preference: -1 (the first answer, in both orders) to +1 (the second one), in halves.
        order: -1 (the answer that is shown last, both times) to +1 (the one shown first).
        length: +1 where the second answer is longer, -1 where the first is, 0.
        truth: +1 where the second is right, -1 where the first is, 0 where they are equal; of the user's pairs not known and not read.
        same: 1 where both answers are one text, so that no judge is needed; else 0.
    """

    preference: Array
    order: Array
    length: Array
    truth: Array
    same: Array


@dataclass(frozen=True)
class JudgeQuality:
    """A judge on pairs with known answers, in shares of 0 to 1 (effects: -1 to 1).

    Attributes:
        accuracy: (1 + sensitivity) / 2: right decisions, ties counted half; 0.5 is chance.
        sensitivity: Decisions for the right answer minus those for the wrong one.
        order: Decisions for the answer that is shown first minus those for the one shown last.
        length: Preference for the longer answer that quality does not explain; None where the pairs cannot tell.
        margin: Sensitivity minus the size of the order's effect.
        consistent: Share of known pairs that were decided alike in both orders.
        ties_known: Share of ties (half ones counted half) where one answer is right; `ties_equal`: where both are equal.
        known: Pairs of which one answer is right; `equal`: pairs of equal quality.
        reason: Why no verdict can rest on this judge; empty where one can.
    """

    accuracy: Estimate
    sensitivity: Estimate
    order: Estimate
    length: Estimate | None
    margin: Estimate
    consistent: float
    ties_known: float
    ties_equal: float | None
    known: int
    equal: int
    reason: str


@dataclass(frozen=True)
class WinRate:
    """The share of pairs in which the tuned answer is better, equal ones counted half, as the judge says it (`raw`) and corrected.

    `corrected` is None where no verdict can rest on the judge: a number would look like one.
    """

    raw: Estimate
    corrected: Estimate | None
    verdict: JudgeVerdict


@dataclass(frozen=True)
class _Response:
    """Draws `[draws]` of what a judge does, the estimate at index 0: sensitivities, and the two values of the effect of length."""

    alike: Array
    differing: Array
    middle: Array
    equal: Array
    weight: float  # of `middle`, in the estimate

    @property
    def length(self) -> Array:
        """Return the effect of length, both values weighted by their pairs."""
        return self.weight * self.middle + (1 - self.weight) * self.equal


def judge_quality(calibration: Preferences, *, seed: int = 0, draws: int = DRAWS) -> JudgeQuality:
    """Return what a judge does on pairs with known answers, and whether a verdict can rest on it.

    Raises:
        ValueError: there are fewer than 20 pairs of which one answer is right.
    """
    known, equal = calibration.truth != 0, calibration.truth == 0
    if known.sum() < FEWEST_KNOWN:
        raise ValueError(
            f"{int(known.sum())} pairs with a right and a wrong answer say too little of a judge; give {FEWEST_KNOWN} or more"
        )
    rng = np.random.default_rng((seed, 2))
    right = (calibration.preference * calibration.truth)[known]
    sensitivity, order = _mean(right, rng, draws), _mean(calibration.order, rng, draws)
    margin = _estimate(sensitivity - np.abs(order), len(right))
    response, ties = _response(calibration, rng, draws), 1 - _decided(calibration)
    reason = ""
    if margin.low <= 0:
        accuracy = f"{50 + 50 * sensitivity[0]:.0f} % right"
        first = f"the answer shown first is chosen {100 * order[0]:+.0f} points more often than the last"
        below = _estimate(sensitivity, len(right)).low <= 0
        reason = (
            f"on {len(right)} pairs with known answers it may be no better than chance ({accuracy}, where 50 % is chance; {first})"
            if below
            else f"the order of the answers moves it as much as their quality does, as far as {len(right)} pairs with known answers tell "
            f"({accuracy}; {first})"
        )
    return JudgeQuality(
        _estimate((1 + sensitivity) / 2, len(right)),
        _estimate(sensitivity, len(right)),
        _estimate(order, len(calibration.order)),
        None if response is None else _estimate(response.length, int((calibration.length != 0).sum())),
        margin,
        float((calibration.order[known] == 0).mean()),
        float(ties[known].mean()),
        float(ties[equal].mean()) if equal.any() else None,
        int(known.sum()),
        int(equal.sum()),
        reason,
    )


def win_rate(
    items: Preferences, calibration: Preferences, quality: JudgeQuality, *, seed: int = 0, draws: int = DRAWS
) -> WinRate:
    """Return the share in which the second (tuned) answer is better: as judged, and corrected by what the judge does on `calibration`.

    Raises:
        ValueError: there are no items.
    """
    n = len(items.preference)
    if n == 0:
        raise ValueError("a win rate needs at least one pair of answers")
    rng = np.random.default_rng((seed, 3))
    judged = np.where(items.same == 1, 0.0, items.preference)
    raw = _estimate((1 + _mean(judged, rng, draws)) / 2, n)
    if quality.reason:
        return WinRate(raw, None, "no verdict")
    response = _response(calibration, rng, draws)
    if response is None:
        both = _mean((calibration.preference * calibration.truth)[calibration.truth != 0], rng, draws)
        response, lengths = _Response(both, both, np.zeros(draws + 1), np.zeros(draws + 1), 1.0), np.zeros(n)
    else:
        lengths = np.where(items.same == 1, 0.0, items.length)
    cells, counts = np.unique(np.stack([judged, lengths], 1), axis=0, return_counts=True)
    # The same weights for both values of the effect of length: they are two readings of one sample.
    weights = _weights(counts, rng, draws)
    readings = [_corrected(cells, weights, response, length) for length in (response.middle, response.equal)]
    low = min(float(np.quantile(least[1:], (1 - LEVEL) / 2)) for least, _ in readings)
    high = max(float(np.quantile(most[1:], (1 + LEVEL) / 2)) for _, most in readings)
    centre, _ = _corrected(cells, weights, response, response.length)
    value, low, high = float((1 + centre[0]) / 2), (1 + low) / 2, (1 + high) / 2
    corrected = Estimate(value, min(low, value), max(high, value), float(centre[1:].std()) / 2, n)
    return WinRate(raw, corrected, _verdict(corrected))


def _verdict(corrected: Estimate) -> JudgeVerdict:
    if corrected.low > 0.5:
        return "tuned preferred"
    return "base preferred" if corrected.high < 0.5 else "unclear"


def _corrected(cells: Array, weights: Array, response: _Response, length: Array) -> tuple[Array, Array]:
    """Return the lower and the upper end `[draws]` of tuned minus base: they part where a draw has no sensitivity left.

    `cells` are the different (preference, length) `[c, 2]`, `weights` the share of each, and of both ends of the scale `[draws, c + 2]`.
    """
    alike = cells[:, 1] == 0
    total = np.where(alike, cells[:, 0], cells[:, 0] - length[:, None] * cells[:, 1])
    slope = np.where(alike, response.alike[:, None], response.differing[:, None])
    blind = ((slope <= 0) & (weights[:, :-2] > 0)).any(1)
    values = (weights[:, :-2] * total / np.where(slope > 0, slope, 1.0)).sum(1) + weights[:, -1] - weights[:, -2]
    values = np.clip(values, -1.0, 1.0)
    return np.where(blind, -1.0, values), np.where(blind, 1.0, values)


def _response(calibration: Preferences, rng: np.random.Generator, draws: int) -> _Response | None:
    """Return draws of what a judge does; None where too few pairs differ in length."""
    truth, length, y = calibration.truth, calibration.length, calibration.preference
    toward = (y * length)[length != 0]
    relation = (truth * length)[length != 0]
    right, wrong, equal = toward[relation == 1], toward[relation == -1], toward[relation == 0]
    if min(len(right), len(wrong)) < FEWEST_CELL:
        return None
    with_right, with_wrong = _mean(right, rng, draws), _mean(wrong, rng, draws)
    differing, middle = (with_right - with_wrong) / 2, (with_right + with_wrong) / 2
    known = (y * truth)[(length == 0) & (truth != 0)]
    alike = _mean(known, rng, draws) if len(known) >= FEWEST_CELL else differing
    if len(equal) < FEWEST_CELL:
        return _Response(alike, differing, middle, middle, 1.0)
    weight = (len(right) + len(wrong)) / len(toward)
    return _Response(alike, differing, middle, _mean(equal, rng, draws), weight)


def _mean(values: Array, rng: np.random.Generator, draws: int) -> Array:
    """Return the mean of values in -1 to 1, and draws of it `[1 + draws]`."""
    cells, counts = np.unique(values, return_counts=True)
    return _weights(counts, rng, draws) @ np.concatenate([cells, [-1.0, 1.0]])


def _weights(counts: NDArray[np.intp], rng: np.random.Generator, draws: int) -> Array:
    """Return the shares of cells by their counts, and draws `[1 + draws, c + 2]`; the last two have half an observation each."""
    drawn = rng.standard_gamma(np.concatenate([counts, [0.5, 0.5]]), (draws, len(counts) + 2))
    first = np.concatenate([counts / counts.sum(), [0.0, 0.0]])[None]
    return np.concatenate([first, drawn / drawn.sum(1, keepdims=True)])


def _estimate(values: Array, n: int) -> Estimate:
    """Return the estimate at index 0 with the percentile interval of the draws behind it, which holds it."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = float(values[0])
    return Estimate(value, min(float(low), value), max(float(high), value), float(values[1:].std()), n)


def _decided(pairs: Preferences) -> Array:
    """Return the share of both decisions of each pair that were no tie: 0, 0.5 or 1."""
    # Two decisions for answers agree (|y| = 1) or are of one order (|order| = 1); a single one leaves a half in both.
    return np.maximum(np.abs(pairs.preference), np.abs(pairs.order))

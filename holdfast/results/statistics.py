"""Intervals and tests for one score and for the change between two, honest at small n. Pure: numbers in, numbers out.

The unit is always the item. A change is measured on identical items, so what makes an item hard cancels. All intervals are
95 %, two-sided. Shares of right answers have closed intervals (Wilson; Tango for the change) with an exact test (McNemar).
Everything else is resampled: the items of both variants together, from sufficient statistics, so that corpus metrics (BLEU,
chrF) are recomputed and not averaged.

A resampled interval knows only the kinds of item that it has seen: if the two variants agree on every item, or differ on
two of fifty, it is far too narrow, and at worst empty. It is therefore never narrower than what an unseen kind of item could do
whose share is `unseen(n)`, the upper end of Wilson's interval for 0 of n; and it reaches zero unless the randomisation test
rejects zero. For shares and no disagreement this is exactly Tango's interval. `tests/results/test_coverage.py` holds what
these choices are worth.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special  # and not scipy.stats, whose import takes half a second of every command

from holdfast.results.metric_rule import Array, Metric

LEVEL = 0.95
Z = float(special.ndtri((1 + LEVEL) / 2))
RESAMPLES = 10_000
FEWEST = 6  # differing items below which no exact test can reject at 5 %: 2 * 0.5**5 is 6 %
_CELLS = 4_000_000  # the most counts held at once, 32 MB


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value over n items (or tasks, where it is a mean over tasks) with its 95 % interval and standard error (0: not known).

    `p` is the two-sided probability of a change at least this large if base and tuned were exchangeable; None for a single score.
    """

    value: float
    low: float
    high: float
    stderr: float = 0.0
    n: int = 0
    p: float | None = None

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate in a unit that is `factor` times as fine."""
        size = abs(factor)
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.stderr * size, self.n, self.p)


def single(
    metric: Metric, items: Array, *, n: int | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Return the value of a metric over items with statistics `[n, s]`, n >= 1, and its interval.

    With `n`, the rows may be fewer: sums over groups of the n items, equal in size but for one, which are resampled in their place.

    Raises:
        ValueError: there are no items.
    """
    units = _count(items)
    n = n or units
    value = float(metric.aggregate(items.sum(0), n))
    if n == units and _is_share(metric, items):
        right = round(items.sum())
        low, high = wilson(right, n)
        error = math.sqrt(right / n * (1 - right / n) / n)
        return Estimate(value, metric.unit * low, metric.unit * high, metric.unit * error, n)
    draws = np.concatenate([metric.aggregate(counts @ items, n) for counts in _resampled(units, seed, resamples)])
    # What one more item of each kind would add, n times: for a mean, its distance from the mean.
    kinds = (units - 1) * (value - metric.aggregate(items.sum(0) - items, max(1, n - n / units)))
    # Where all items are alike: as far as the scale reaches, or, where that is not known, as far as the value is from zero.
    ends = (-value, metric.scale - value) if metric.scale is not None else (-abs(value), abs(value))
    least, most = (kinds.min(), kinds.max()) if kinds.any() else ends
    low, high = _quantiles(draws, units)
    low, high = min(low, value + unseen(units) * least), max(high, value + unseen(units) * most)
    if metric.scale is not None:
        low, high = max(0.0, low), min(metric.scale, high)
    return Estimate(value, float(low), float(high), float(draws.std()), n)


def paired(
    metric: Metric, base: Array, tuned: Array, *, n: int | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Return the change tuned - base of a metric, from both variants' statistics `[n, s]` of the same items in the same order.

    With `n`, the rows may be fewer: sums over the same groups of the n items, as in `single`; the randomisation test swaps whole groups.

    Raises:
        ValueError: there are no items.
    """
    units = _count(base)
    n = n or units
    assert base.shape == tuned.shape, (base.shape, tuned.shape)
    if n == units and _is_share(metric, base) and _is_share(metric, tuned):
        return _paired_shares(base[:, 0], tuned[:, 0], metric.unit)
    old, new = base.sum(0), tuned.sum(0)
    value = float(metric.aggregate(new, n) - metric.aggregate(old, n))
    draws = np.concatenate(
        [metric.aggregate(c @ tuned, n) - metric.aggregate(c @ base, n) for c in _resampled(units, seed, resamples)]
    )
    # What it changes if one item is answered as by the other variant, n times: for a mean, the item's own difference. From
    # a handful of differences their size cannot be told, and the whole scale takes their place; of an unknown one, the range of values.
    swaps = units * (metric.aggregate(new, n) - metric.aggregate(new + base - tuned, n))
    few = (base != tuned).any(1).sum() < FEWEST
    each = metric.aggregate(np.concatenate([base, tuned]), n / units)
    widest = metric.scale if metric.scale is not None else float(np.ptp(each)) or float(np.abs(each).max())
    reach = unseen(units) * (widest if few else float(np.abs(swaps).max()))
    low, high = _quantiles(draws, units)
    low, high = min(low, value - reach), max(high, value + reach)
    p = randomisation(metric, base, tuned, n=n, seed=seed, trials=resamples)
    if (
        p >= 1 - LEVEL
    ):  # the test is exact at every n and the percentile interval is not, so the test has the last word on zero
        low, high = min(low, 0.0), max(high, 0.0)
    if metric.scale is not None:
        low, high = max(-metric.scale, low), min(metric.scale, high)
    return Estimate(value, low, high, float(draws.std()), n, p)


def pseudovalues(metric: Metric, items: Array, n: int | None = None) -> Array:
    """Return each item's part in a value `[n]`: its own value for a mean, else the jackknife's n * value - (n - 1) * value without it.

    With `n`, the rows may be fewer, as in `single`: then it is each group's part.
    """
    units = _count(items)
    n = n or units
    if metric.is_mean or n == 1:
        each = units / n  # 1 where the rows are items
        return metric.unit * items[:, 0] * each if metric.is_mean else np.atleast_1d(metric.aggregate(items.sum(0), 1))
    without = metric.aggregate(items.sum(0) - items, n - n / units)
    return units * metric.aggregate(items.sum(0), n) - (units - 1) * without


def covariance(first: Array, second: Array) -> float:
    """Return the sampling covariance of two values on the same n items, from each item's part in them (`pseudovalues`)."""
    return float(((first - first.mean()) * (second - second.mean())).mean() / len(first))


def jackknife(value: float, without: Array) -> Estimate:
    """Return a statistic of n items that resampling would distort (repeated items are not new), from its values without each `[n]`.

    The interval is value +- 1.96 jackknife standard errors (Tukey 1958); of one item it is empty.
    """
    n = len(without)
    error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    return Estimate(value, value - Z * error, value + Z * error, error, n)


def ratio(above: Array, below: Array, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Return sum(above) / sum(below) over paired items `[n]`, where the sum below is not zero; percentile interval."""
    n, both = len(above), np.stack([above, below], 1)  # drawn as pairs: an item's two numbers go together
    sums = np.concatenate([counts @ both for counts in _resampled(n, seed, resamples)])
    # A draw of items whose sum below is zero has no ratio; to count it as infinite would empty the upper limit of its meaning.
    draws = sums[:, 0][sums[:, 1] > 0] / sums[:, 1][sums[:, 1] > 0]
    low, high = _quantiles(draws, n)
    return Estimate(float(above.sum() / below.sum()), low, high, float(draws.std()), n)


def widening(tests: int) -> float:
    """Return by how much an interval has to be longer for all of so many to hold together as one holds alone (Bonferroni)."""
    return float(special.ndtri(1 - (1 - LEVEL) / 2 / tests)) / Z


def widened(change: Estimate, tests: int) -> Estimate:
    """Return the estimate with the interval that holds together with those of so many tests."""
    factor = widening(tests)
    low, high = (change.value + factor * (end - change.value) for end in (change.low, change.high))
    return Estimate(change.value, low, high, change.stderr, change.n, change.p)


def items_to_tell(change: Estimate, *, kept: float, lost: float, tests: int = 1) -> int | None:
    """Return about how many items would tell a change above `kept` from one below `lost`; None where no number would.

    The one formula behind "about N items would tell". The change is taken to stay as it is, and its interval to shrink as 1 / sqrt(n):
    above `kept` once the 95 % interval is, below `lost` once the interval is that is widened for so many `tests`, and `change.p` (which
    tests zero, and may be corrected) is below 5 % where `lost` is zero. `change.n` is the number of items now.
    """
    ratios = []
    # A value on the bound may be a rounding error beside it, from where trillions of items would tell.
    near = 1e-9 * max(abs(change.high - change.low), abs(change.value))
    if change.value > kept + near:
        ratios.append((change.value - change.low) / (change.value - kept))
    if change.value < lost - near:
        ratio = (change.high - change.value) * widening(tests) / (lost - change.value)
        # An exact test may still be in doubt where the interval is not. Of 1 nothing follows: a corrected p ends there.
        by_test = Z / -float(special.ndtri(change.p / 2)) if lost == 0 and change.p and change.p < 1 else 0.0
        ratios.append(max(ratio, by_test))
    ratios = [ratio for ratio in ratios if math.isfinite(ratio)]
    return max(change.n + 1, math.ceil(change.n * min(ratios) ** 2)) if ratios else None


def unseen(n: int) -> float:
    """Return the share that a sort of item may have which did not occur in n: the upper end of Wilson's interval for 0 of n."""
    return Z**2 / (n + Z**2)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the score interval of a share, `right` of `n` (Wilson 1927)."""
    share, weight = right / n, unseen(n)
    centre = share + weight * (0.5 - share)
    half = math.sqrt(weight * ((1 - weight) * share * (1 - share) + weight / 4))
    # The formula's ends are exact there, and rounding would put them a hair outside of 0 to 1.
    return (0.0 if right == 0 else centre - half, 1.0 if right == n else centre + half)


@cache  # 120 evaluations each, and simulated coverage asks for the same few counts thousands of times
def tango(better: int, worse: int, n: int) -> tuple[float, float]:
    """Return the score interval of the change of a share between paired samples (Tango 1998), by bisection.

    Of n items, `better` are right only after and `worse` only before.
    """
    change = (better - worse) / n

    def excess(delta: float) -> float:
        """Return (observed - delta) in standard errors, with the variance that the likelihood gives under this delta; falls in delta."""
        # The greatest likelihood of the share of items that are right only before, under this delta: a quadratic's larger root.
        linear = (2 * n - better + worse) * delta - better - worse
        root = math.sqrt(max(0.0, linear**2 + 8 * n * worse * delta * (1 - delta)))
        only_before = (root - linear) / (4 * n)
        variance = (2 * only_before + delta * (1 - delta)) / n
        return (change - delta) / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, change - delta)

    return falls_to(Z, excess, -1.0, change), falls_to(-Z, excess, change, 1.0)


@cache
def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided exact probability of so uneven a split of the items that changed (McNemar 1947)."""
    return min(1.0, 2 * float(special.bdtr(min(better, worse), better + worse, 0.5)))


def randomisation(
    metric: Metric, base: Array, tuned: Array, *, n: int | None = None, seed: int = 0, trials: int = RESAMPLES
) -> float:
    """Return the two-sided probability of a change at least this large when each item's two answers are swapped at random.

    Approximate randomisation (Noreen 1989; Riezler and Maxwell 2005): valid at every n for any metric. `n` is as in `paired`.
    """
    n = n or _count(base)
    moves = (base - tuned)[(base != tuned).any(1)]  # to swap two equal answers changes nothing, so only these are drawn
    old, new = base.sum(0), tuned.sum(0)
    observed = abs(float(metric.aggregate(new, n) - metric.aggregate(old, n)))
    rng, extreme, rows = np.random.default_rng((seed, 1)), 0, max(1, _CELLS // max(1, len(moves)))
    for start in range(0, trials, rows):
        swapped = rng.integers(0, 2, (min(rows, trials - start), len(moves)), dtype=np.uint8).astype(np.float64) @ moves
        change = np.abs(metric.aggregate(new + swapped, n) - metric.aggregate(old - swapped, n))
        # 1e-9: equal changes, summed in another order
        extreme += int((change >= observed - 1e-9 * (metric.scale or 1.0)).sum())
    return (extreme + 1) / (trials + 1)  # + 1: the observed order is one of those possible, so p is never zero


def _paired_shares(base: NDArray[np.float64], tuned: NDArray[np.float64], scale: float) -> Estimate:
    n, better, worse = len(base), int((tuned > base).sum()), int((tuned < base).sum())
    low, high = tango(better, worse, n)
    change = (better - worse) / n
    error = math.sqrt(max(0.0, (better + worse) / n - change**2) / n)
    return Estimate(scale * change, scale * low, scale * high, scale * error, n, mcnemar(better, worse))


def _resampled(n: int, seed: int, resamples: int) -> Iterator[Array]:
    """Yield the number of times that each of n items is drawn, `[rows, n]` at a time: the counts of the bootstrap (Efron 1979)."""
    # A stream of its own, (seed, 0), so that the swaps of `randomisation` at (seed, 1) are independent of these draws.
    rng, rows = np.random.default_rng((seed, 0)), max(1, _CELLS // n)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]  # each row counts in n bins of its own
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _quantiles(draws: Array, n: int) -> tuple[float, float]:
    """Return the percentile interval, widened for small n as Student's t does the normal's (Hesterberg 2015, "expanded percentile")."""
    if n == 1:  # Student's t has no degree of freedom left; all draws are the one item
        return float(draws.min()), float(draws.max())
    tail = float(special.ndtr(math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 - LEVEL) / 2)))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def falls_to(level: float, function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function reaches a level between two points, by bisection; the nearer end where it does not."""
    if function(low) <= level:
        return low
    for _ in range(60):  # of an interval of length 2 leaves 2**-59, less than what float64 tells apart near 1
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > level else (low, middle)
    return (low + high) / 2


def _is_share(metric: Metric, items: Array) -> bool:
    """Return whether the value is a share of right items; a recorded metric of 0 to 100 whose items are all 0 or 1 is none."""
    share = metric.is_mean and metric.scale in (None, metric.unit)
    return share and items.shape[1] == 1 and bool(((items == 0) | (items == 1)).all())


def _count(items: Array) -> int:
    if items.ndim != 2 or len(items) == 0:
        raise ValueError("a score needs at least one item; the split is empty or `limit` is 0")
    return len(items)

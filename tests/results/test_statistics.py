"""Intervals and tests against scipy, sacrebleu and numbers from the literature or from paper and pencil."""

import math
import random
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU  # pyright: ignore[reportPrivateImportUsage]
from sacrebleu.significance import PairedTest
from scipy import stats

from holdfast.results.metric_rule import Array
from holdfast.results.metrics import metric
from holdfast.results.scores import Output
from holdfast.results.statistics import mcnemar, paired, randomisation, single, tango, unseen, wilson

ACCURACY, ROUGE, BLEU4 = metric("accuracy"), metric("rouge2"), metric("bleu")


def column(*values: float) -> Array:
    return np.array(values, dtype=float)[:, None]


def table(both: int, better: int, worse: int, neither: int) -> tuple[Array, Array]:
    """Right or wrong before and after, by how many items did what."""
    base = [1.0] * both + [0.0] * better + [1.0] * worse + [0.0] * neither
    tuned = [1.0] * both + [1.0] * better + [0.0] * worse + [0.0] * neither
    return column(*base), column(*tuned)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 10), (7, 10), (81, 263), (500, 500)])
def test_wilson_is_scipys(right: int, n: int) -> None:
    theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(
    ("better", "worse", "n", "low", "high"),
    [
        # The score equation at 0, solved by hand: with no disagreement z^2 = n d / (1 - d), so d = z^2 / (n + z^2).
        (0, 0, 50, -unseen(50), unseen(50)),
        # With `worse` alone and delta at the upper end of its range the equation is symmetric to that with `better` alone.
        (0, 4, 50, -0.188382, -0.002945),
        (4, 0, 50, 0.002945, 0.188382),
    ],
)
def test_tango_at_the_edges(better: int, worse: int, n: int, low: float, high: float) -> None:
    assert tango(better, worse, n) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize(("better", "worse", "n"), [(12, 5, 100), (1, 9, 40), (30, 30, 500), (3, 0, 12)])
def test_tango_holds_the_changes_that_a_likelihood_by_search_does_not_reject(better: int, worse: int, n: int) -> None:
    """An independent solution: the restricted maximum likelihood is found on a grid and not from the closed formula."""
    for end, sign in zip(tango(better, worse, n), (1, -1), strict=True):
        only_before = np.linspace(max(0.0, -end), (1 - end) / 2, 2_000_001)[1:-1]
        log = better * np.log(only_before + end) + worse * np.log(only_before) if better and worse else None
        if log is None:
            log = (better or worse) * np.log(only_before + (end if better else 0))
        log = log + (n - better - worse) * np.log(1 - end - 2 * only_before)
        q = only_before[np.argmax(log)]
        z = (better - worse - n * end) / math.sqrt(n * (2 * q + end * (1 - end)))
        # The grid's step of 5e-7 moves z by about 1e-4; a wrong sign or variance moves it by 0.1 and more.
        assert z == pytest.approx(sign * 1.959964, abs=2e-3)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(9, 1) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(4, 4) == 1


def test_shares_use_the_closed_intervals_and_the_exact_test() -> None:
    base, tuned = table(60, 3, 12, 25)
    change = paired(ACCURACY, base, tuned)
    assert change.value == pytest.approx(-0.09)
    assert (change.low, change.high) == tango(3, 12, 100)
    assert change.p == mcnemar(3, 12)
    assert change.stderr == pytest.approx(math.sqrt((0.15 - 0.09**2) / 100))
    one = single(ACCURACY, tuned)
    assert (one.value, one.low, one.high, one.n) == (0.63, *wilson(63, 100), 100)


def test_a_dense_change_has_the_bootstrap_interval_of_scipy() -> None:
    rng = np.random.default_rng(0)
    base = rng.beta(2, 5, 80)
    tuned = np.clip(base + rng.normal(-0.02, 0.1, 80), 0, 1)
    ours = paired(ROUGE, base[:, None], tuned[:, None])
    theirs = stats.bootstrap(((tuned - base) * 100,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    error = (tuned - base).std() * 100 / math.sqrt(80)
    assert ours.value == pytest.approx((tuned - base).mean() * 100)
    # 0.02 standard errors of resampling noise at 10,000; leaving out the n - 1 correction would be the same size, pairing lost 3.
    assert ours.stderr == pytest.approx(error, rel=0.03)
    # The expanded percentile lies z * (t / z * sqrt(n / (n-1)) - 1), 0.044 standard errors, outside scipy's; noise is 0.04.
    expanded = error * (1.990450 * math.sqrt(80 / 79) - 1.959964)
    interval = theirs.confidence_interval
    assert ours.low == pytest.approx(interval.low - expanded, abs=0.1 * error)
    assert ours.high == pytest.approx(interval.high + expanded, abs=0.1 * error)


def test_randomisation_is_exact_where_all_swaps_can_be_counted() -> None:
    """Five items, all worse by different amounts: of 32 ways to swap, 2 are as extreme."""
    base, tuned = column(0.9, 0.8, 0.7, 0.6, 0.5), column(0.8, 0.6, 0.4, 0.2, 0.0)
    assert randomisation(ROUGE, base, tuned) == pytest.approx(2 / 32, abs=0.01)  # noise 0.0024 at 10,000 trials
    assert randomisation(ROUGE, base, base) == 1


def test_bleu_agrees_with_sacrebleus_paired_tests() -> None:
    rng = random.Random(5)
    words = ("the", "a", "cat", "dog", "sat", "lay", "on", "under", "mat", "rug", "today", ",", ".", "two", "men")
    references = [" ".join(rng.choices(words, k=rng.randint(6, 14))) for _ in range(120)]

    def noisy(share: float) -> list[str]:
        return [" ".join(w if rng.random() < share else rng.choice(words) for w in r.split()) for r in references]

    base, tuned = noisy(0.75), noisy(0.70)
    rows = [
        BLEU4.statistics(
            [
                Output("base", None, "t", "general", 0, i, "", r, t)
                for i, (r, t) in enumerate(zip(references, texts, strict=True))
            ]
        )
        for texts in (base, tuned)
    ]
    change, one = paired(BLEU4, *rows), single(BLEU4, rows[0])
    arguments: Any = ([("base", base), ("tuned", tuned)], {"BLEU": BLEU()}, [references])
    by_swaps: Any = PairedTest(*arguments, test_type="ar", n_samples=10_000)()[1]["BLEU"]
    by_draws: Any = PairedTest(*arguments, test_type="bs", n_samples=2_000)()[1]["BLEU"]
    assert change.value == pytest.approx(by_swaps[1].score - by_swaps[0].score, abs=1e-9)
    # Noise of a share from 10,000 draws is below 0.005, twice; a one-sided p would be half of it.
    assert change.p == pytest.approx(by_swaps[1].p_value, abs=0.02)
    assert 0.001 < by_swaps[1].p_value < 0.5, "the case no longer tells a right p from a wrong one"
    # sacrebleu gives half the width of the percentile interval; ours may be wider by t against z (2 %) and the noise of 5 %.
    assert (one.high - one.low) / 2 == pytest.approx(by_draws[0].ci, rel=0.1)


@pytest.mark.parametrize("name", ["accuracy", "rouge2", "bleu"])
@pytest.mark.parametrize("n", [1, 2, 20, 500])
def test_agreement_on_every_item_is_not_certainty(name: str, n: int) -> None:
    """Nothing of n changed: zero, and as far to either side as a change that n items may well not have shown."""
    m = metric(name)
    width = m.statistics([Output("base", None, "t", "g", 0, 0, "", "a", "a", (), ("a",), (-1.0,))]).shape[1]
    items = np.ones((n, width))
    change = paired(m, items, items)
    assert (change.value, change.stderr, change.p) == (0, 0, 1)
    assert (change.low, change.high) == pytest.approx((-m.unit * unseen(n), m.unit * unseen(n)))


@pytest.mark.parametrize("n", [1, 20])
def test_equal_values_are_not_certainty_either(n: int) -> None:
    items = np.full((n, 1), 0.25)
    one = single(ROUGE, items)
    assert one.value == 25
    assert (one.low, one.high) == pytest.approx((25 * (1 - unseen(n)), 25 + 75 * unseen(n)))


def test_a_handful_of_differences_is_not_enough_for_a_bootstrap() -> None:
    """One item of fifty is worse: the percentile interval would be [-6, 0], and would exclude that the tuned one is better."""
    base = column(*[0.5] * 50)
    tuned = base.copy()
    tuned[0] = 0.0
    change = paired(ROUGE, base, tuned)
    assert change.value == pytest.approx(-1)
    assert change.low < -8
    assert change.high > 6


def test_an_interval_excludes_zero_only_where_the_test_does() -> None:
    base = column(*[0.5] * 50)
    tuned = base.copy()
    tuned[:7] = column(0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.9)
    change = paired(ROUGE, base, tuned)
    assert change.p is not None
    assert change.p > 0.05
    assert change.low < 0 < change.high


def test_no_items_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        single(ACCURACY, np.empty((0, 1)))


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly() -> None:
    rng = np.random.default_rng(3)
    base, tuned = rng.random((60, 1)), rng.random((60, 1))
    first = paired(ROUGE, base, tuned, seed=1)
    assert paired(ROUGE, base, tuned, seed=1) == first
    other = paired(ROUGE, base, tuned, seed=2)
    assert other != first
    # The quantile's noise at 10,000 draws is 0.027 standard errors; 0.2 would come with 200 draws.
    assert other.low == pytest.approx(first.low, abs=0.15 * first.stderr)

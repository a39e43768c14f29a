"""The base beside chance: "not above" is said only where the data exclude it, and what is not known is called that."""

import pytest

from holdfast.results.chance import standing
from holdfast.results.scores import Score
from holdfast.results.statistics import wilson


def base(right: int, n: int, chance: float = 0.0, metric: str = "exact_match") -> Score:
    low, high = wilson(right, n)
    scale = 100.0 if metric == "bleu" else 1.0
    return Score(
        "base", None, "quiz", "general", 0, metric, scale * right / n, scale * low, scale * high, n, chance=chance
    )


@pytest.mark.parametrize(
    ("right", "n", "chance", "word"),
    [
        (5, 10, 0.0, "above"),
        (0, 10, 0.0, "unclear"),  # up to 28 of 100 are possible
        (0, 100, 0.0, "not above"),  # at most 3.7 of 100 are
        (30, 50, 0.5, "unclear"),
        (60, 100, 0.5, "above"),
        (500, 1000, 0.5, "not above"),  # at most 3.1 points above
        (20, 100, 0.5, "not above"),  # certainly below: a base that mistakes the question
    ],
)
def test_the_word_is_what_the_interval_allows(right: int, n: int, chance: float, word: str) -> None:
    for metric in ("exact_match", "bleu") if not chance else ("exact_match",):
        result = standing(base(right, n, chance, metric))
        assert result is not None
        assert result.word == word
        assert (result.needed is not None) == (word == "unclear")


@pytest.mark.parametrize(("right", "n", "chance"), [(0, 10, 0.0), (29, 50, 0.5), (26, 50, 0.5)])
def test_about_so_many_items_do_tell(right: int, n: int, chance: float) -> None:
    """With the share as it is: 1.2 times the number tells, and half of it does not (an interval is no exact function of 1 / sqrt(n))."""
    result = standing(base(right, n, chance))
    assert result is not None
    assert result.needed is not None

    def word(items: int) -> str | None:
        again = standing(base(round(items * right / n), items, chance))
        return again and again.word

    assert word(round(1.2 * result.needed)) != "unclear"
    assert word(n) == "unclear"
    assert result.phrase == f"may be no better than chance at n = {n}"
    assert "items would tell" in result.more


def test_there_is_no_chance_where_less_is_better_or_the_scale_is_not_known() -> None:
    assert standing(base(5, 10, metric="perplexity")) is None
    assert standing(base(5, 10, metric="accuracy_diff")) is None

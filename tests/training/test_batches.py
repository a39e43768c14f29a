"""Which rows a step sees."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from holdfast.row import Row, total_weight
from holdfast.training.batches import Mixture, Stream, share, split


def stream(size: int, batch: int, seed: int = 0) -> Stream:
    return Stream(lambda index, epoch: Row((index,), (1.0,), name=str(epoch)), size, batch, seed)


def test_each_pass_sees_every_row_once_in_another_order() -> None:
    seen = [row for step in range(5) for row in stream(10, 4).batch(step)]
    passes = [[row.tokens[0] for row in seen if row.name == epoch] for epoch in "01"]
    assert [sorted(p) for p in passes] == [list(range(10))] * 2
    assert passes[0] != passes[1]


def test_a_batch_larger_than_the_data_repeats_rows_evenly() -> None:
    assert set(Counter(row.tokens[0] for row in stream(3, 9).batch(7)).values()) == {3}


def test_a_step_is_known_from_the_seed_alone() -> None:
    assert stream(50, 4).batch(30) == stream(50, 4).batch(30)
    assert stream(50, 4).batch(30) != stream(50, 4, seed=1).batch(30)


def test_processes_share_a_batch_without_rest_or_overlap() -> None:
    rows = stream(20, 7).batch(0)
    parts = [share(rows, rank, 3) for rank in range(3)]
    assert sorted(row.tokens for part in parts for row in part) == sorted(row.tokens for row in rows)
    assert all(parts)


@pytest.mark.parametrize("budget", [1, 5, 12, 1000])
def test_forwards_hold_the_budget_and_lose_no_row(budget: int) -> None:
    rows = [Row(tuple(range(n)), (1.0,) * n) for n in (3, 9, 1, 1, 7, 2)]
    parts = split(rows, budget)
    assert [row for part in parts for row in part] == rows
    assert all(len(part) == 1 or sum(len(row.tokens) for row in part) <= budget for part in parts)
    assert total_weight(rows) == sum(total_weight(part) for part in parts) == 23


def test_a_mixture_deals_equal_parts_and_passes_through_each_stream_at_its_own_pace() -> None:
    def rows(name: str) -> Callable[[int, int], Row]:
        return lambda index, epoch: Row((index, epoch), (0.0, 1.0), name=name)

    short, long = Stream(rows("short"), 2, 5, seed=1), Stream(rows("long"), 9, 5, seed=1)
    mixed = Mixture((short, long), 5)
    dealt = [row for step in range(4) for row in mixed.batch(step)]
    assert [row.name for row in dealt] == ["short", "long"] * 10
    assert [row for row in dealt if row.name == "short"] == [group[0] for group in short.groups(range(10))]
    assert sorted(row.tokens[0] for row in dealt[1:18:2]) == list(range(9))
    assert {row.name for row in mixed.sample(4)} == {"short", "long"}


def test_a_sample_of_several_streams_keeps_their_groups_apart() -> None:
    """With numbers of their own, the first pair of each stream was one group of four rows, and methods that go by pairs found none."""
    pairs = [
        Stream(lambda i, _, first=first: [Row((first, i), (0.0, 1.0)), Row((first, i, 9), (0.0, 1.0, 1.0))], 6, 2)
        for first in (0, 1)
    ]
    sample = Mixture(pairs, 4).sample(8)
    assert [row.tokens[:2] for row in sample] == [(s, i) for s in (0, 1) for i in range(4) for _ in range(2)]
    assert Counter(Counter(row.group for row in sample).values()) == {2: 8}


def test_a_pass_is_put_in_order_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at every step: at some millions of rows that alone takes a third of a second."""
    made: list[list[int]] = []
    honest = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: made.append(seed) or honest(seed))
    fresh = stream(50, 4, seed=4711)
    for step in range(25):
        fresh.batch(step)
    assert made == [[4711, 0], [4711, 1]]

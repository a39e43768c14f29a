"""The integers of packed rows: every row can be read back from them, whatever the rows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.prefix.attention import masks
from holdfast.prefix.packing import SHARE, Bundle, Packed, _spread, pack
from holdfast.row import Row

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # A busy machine is no failure.
LENGTHS = (3, 0, 5)  # of three soft prompts


def row(tokens: Sequence[int], labels: Sequence[int] = (-1,), prompt: int | None = 0) -> Row:
    """A row that predicts the given places, with weights that tell them apart."""
    weights = [0.0] * len(tokens)
    for number, place in enumerate(labels):
        weights[place] = 1.0 + number
    return Row(tuple(tokens), tuple(weights), prompt)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Rows of few different tokens, so that many begin alike, some behind a soft prompt."""
    found = []
    for _ in range(draw(st.integers(1, 8))):
        beginning = draw(st.integers(0, 2 * SHARE))
        tokens = [beginning % 2] * beginning + draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
        prompt = draw(st.sampled_from([None, 0, 1, 2]))
        lowest = 0 if prompt is not None and LENGTHS[prompt] else 1
        places = st.sets(st.integers(lowest, len(tokens) - 1)) if lowest < len(tokens) else st.just(set())
        found.append(row(tokens, sorted(draw(places)), prompt))
    return found


def seen_from(packed: Packed, flat: int) -> list[int]:
    """Flat places that a place sees, itself included, in order."""
    packed_row, place = divmod(flat, packed.tokens.shape[1])
    mask = masks.visible(packed.end)[packed_row, 0, place]
    return (packed_row * packed.tokens.shape[1] + mask.nonzero().flatten()).tolist()


@patient
@given(rows(), st.sampled_from([None, 1, 12, 30]), st.sampled_from([1, 8]))
def test_what_a_label_sees_is_its_prompt_and_the_tokens_before_it(
    given_rows: list[Row], budget: int | None, multiple: int
) -> None:
    packed = pack(given_rows, LENGTHS, budget, multiple)
    tokens, positions = packed.tokens.flatten().tolist(), packed.positions.flatten().tolist()
    vectors = dict(zip(packed.soft_index.tolist(), packed.soft_source.tolist(), strict=True))
    expected = [(number, place) for number, one in enumerate(given_rows) for place in one.labels]
    assert len(packed.label_index) == len(expected)
    for index, label, weight, row_number, (number, place) in zip(
        packed.label_index.tolist(), packed.labels.tolist(), packed.weights.tolist(), packed.row.tolist(), expected,
        strict=True,
    ):  # fmt: skip
        one = given_rows[number]
        length = 0 if one.prompt is None else LENGTHS[one.prompt]
        path = seen_from(packed, index)
        assert [positions[i] for i in path] == list(range(length + place))
        assert [vectors[i] for i in path[:length]] == [sum(LENGTHS[: one.prompt]) + i for i in range(length)]
        assert not vectors.keys() & set(path[length:])
        assert [tokens[i] for i in path[length:]] == list(one.tokens[:place])
        assert (row_number, label, weight) == (number, one.tokens[place], one.weights[place])


@patient
@given(rows(), st.sampled_from([12, 30]), st.sampled_from([1, 8]))
def test_no_packed_row_is_longer_than_the_budget_or_the_longest_row(
    given_rows: list[Row], budget: int, multiple: int
) -> None:
    longest = max(len(one.tokens) + (0 if one.prompt is None else LENGTHS[one.prompt]) for one in given_rows)
    length = pack(given_rows, LENGTHS, budget, multiple).tokens.shape[1]
    assert length % multiple == 0
    assert length - multiple < max(budget, longest)


@patient
@given(rows(), st.sampled_from([None, 12]))
def test_padding_is_seen_by_itself_only(given_rows: list[Row], budget: int | None) -> None:
    packed = pack(given_rows, LENGTHS, budget, multiple=16)
    place = torch.arange(packed.end.shape[1]).expand_as(packed.end)
    used = masks.visible(packed.end)[:, 0].sum(1) > 1  # Seen by another place...
    used |= packed.positions > 0  # ...or behind another place...
    used |= (packed.tokens > 0) | (packed.end > place + 1)  # ...or holding something.
    for packed_row in range(len(packed.end)):
        filled = int(used[packed_row].nonzero().max()) + 1 if used[packed_row].any() else 0
        assert packed.end[packed_row, filled:].tolist() == list(range(filled + 1, packed.end.shape[1] + 1))


def test_equal_rows_cost_nothing() -> None:
    one = row(range(10))
    assert torch.equal(pack([one], [4]).tokens, pack([one] * 5, [4]).tokens)


def test_the_choices_of_a_question_share_it_to_the_last_token() -> None:
    """Four one-token answers: nothing but the question is computed, and one place predicts all four."""
    packed = pack([row([*range(10), answer]) for answer in (20, 21, 22, 23)], [4])
    assert packed.tokens.shape == (1, 4 + 10)
    assert packed.label_index.tolist() == [13] * 4
    assert packed.labels.tolist() == [20, 21, 22, 23]


def test_rows_that_begin_alike_stay_in_one_packed_row() -> None:
    """Two families of long beginnings in two packed rows: split, each beginning would be computed twice."""
    first, second = list(range(20)), list(range(20, 40))
    given_rows = [row([*beginning, answer, 0]) for answer in (50, 51, 52) for beginning in (first, second)]
    packed = pack(given_rows, [4], budget=30)
    assert packed.tokens.shape == (2, 4 + 20 + 3)


def test_packed_rows_are_of_about_equal_length() -> None:
    lengths = [40, 30, 30, 20, 20, 10, 10]
    packed = pack([row([100 + i] * length) for i, length in enumerate(lengths)], [10], budget=100)
    assert packed.tokens.shape[0] == 2
    assert packed.tokens.shape[1] <= 10 + (sum(lengths) - len(lengths)) / 2 + 5


def test_rows_without_labels_take_no_place() -> None:
    packed = pack([row(range(9), ()), row([1, 2])], [4])
    assert packed.tokens.shape == (1, 5)
    assert packed.row.tolist() == [1]


def test_labels_come_in_the_order_of_the_rows() -> None:
    packed = pack([row([9, 8, 7], (1, 2)), row([1, 2, 3], (2,)), row([5, 4], (0, 1))], [2])
    assert packed.labels.tolist() == [8, 7, 3, 5, 4]
    assert packed.weights.tolist() == [1, 2, 1, 1, 2]
    assert packed.row.tolist() == [0, 0, 1, 2, 2]


def test_the_first_label_can_follow_the_prompt_alone() -> None:
    packed = pack([row([7], (0,))], [2])
    assert packed.label_index.tolist() == [1]


@pytest.mark.parametrize("prompt", [None, 1])
def test_a_label_with_nothing_before_it_is_refused_by_name(prompt: int | None) -> None:
    with pytest.raises(ValueError, match=r"row rte/train\[3\]: its first token is to be predicted"):
        pack([replace(row([7, 8], (0, 1), prompt), name="rte/train[3]")], LENGTHS)


def test_packing_keeps_up_with_training() -> None:
    """64,000 tokens in about 70 ms of this process; anything quadratic in tokens takes minutes."""
    import time

    given_rows = [row([(i * 7919 + j) % 1000 for j in range(512)]) for i in range(128)]
    start = time.process_time()
    pack(given_rows, [100], 1024)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("limits", [{}, {"budget": 256, "multiple": 8}, {"width": 768, "multiple": 8}], ids=str)
def test_thousands_of_short_rows_are_packed_in_seconds(limits: Any) -> None:
    """0.1 to 0.5 s of this process, and 1.1 beside a browser's tests; looking through all packed rows for the shortest one took 50 s."""
    import time

    given_rows = [row([i % 997, i // 997], prompt=None) for i in range(4096)]
    start = time.process_time()
    packed = pack(given_rows, **limits)
    assert time.process_time() - start < 10
    assert packed.tokens.numel() <= 1.1 * 4096 * (8 if "width" in limits else 1)  # Rows of one place, rounded up to 8.


@patient
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 8))
def test_a_bundle_goes_to_where_the_packed_row_stays_shortest(sizes: list[tuple[int, int]], count: int) -> None:
    """Against looking at every packed row for every bundle, which the heaps spare."""
    lengths = [3, 0, 5, 0]
    bundles = [Bundle([number], prompt, size) for number, (size, prompt) in enumerate(sizes)]
    loads, held, bins = [0] * count, [set[int]() for _ in range(count)], [list[int]() for _ in range(count)]
    for bundle in sorted(bundles, key=lambda bundle: -bundle.size):
        after = [
            load + bundle.size + lengths[bundle.prompt] * (bundle.prompt not in prompts)
            for load, prompts in zip(loads, held, strict=True)
        ]
        best = min(range(count), key=after.__getitem__)
        bins[best] += bundle.members
        held[best].add(bundle.prompt)
        loads[best] = after[best]
    assert _spread(bundles, lengths, count) == ([members for members in bins if members], max(loads))


def test_the_example_in_the_notation_is_what_packing_does() -> None:
    text = (Path(__file__).parents[2] / "docs" / "notation.md").read_text()
    table = {line[:23].split()[-1]: line[23:].split() for line in text.splitlines() if line[15:23].split()}
    ids = {letter: i for i, letter in enumerate("abcdefxyz", start=1)}
    given_rows = [row([ids[letter] for letter in word]) for word in ("abcx", "abdey", "fz")]
    packed = pack(given_rows, [2])
    assert packed.tokens.tolist() == [[ids.get(letter, 0) for letter in table["holds"]]]
    assert packed.positions.tolist() == [[int(number) for number in table["position"]]]
    assert packed.end.tolist() == [[int(number) for number in table["end"]]]
    assert packed.labels.tolist() == [ids[letter] for letter in table["predicts"]]

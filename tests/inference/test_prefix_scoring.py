"""Rows behind a cached prefix against each row alone: the same logits on every kind of model, however rows share.

TOLERANCE: two right implementations differ by 1e-6 to 2e-5 here (float32, sums in another order; logits of the order of
1 to 10); each of the planted bugs below differs by more than 1e-1.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.inference import prefix_scoring
from holdfast.prefix import cache, grouping, probe, reach, reference
from holdfast.row import Row
from tests.prefix.tiny import ALONE, PACKS, VOCABULARY, prompt_of, rows_of, tiny

TOLERANCE = 1e-4
RAGGED = (5, 9, 3, 6, 12)


def answers(questions: int, choices: int, common: int, seed: int = 0, prompt: int | None = 0) -> list[Row]:
    """Questions behind `common` equal tokens, each with its choices of one to three tokens that are predicted."""
    random = torch.Generator().manual_seed(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (count,), generator=random).tolist())

    shots, rows = draw(common), []
    for number in range(questions):
        question = shots + draw(4 + number % 3)
        for choice in range(choices):
            answer = draw(1 + choice % 3)
            rows.append(Row(question + answer, (0.0,) * len(question) + (1.0,) * len(answer), prompt))
    return rows


def difference(model: Any, rows: Sequence[Row], prompts: Sequence[Tensor], batch_tokens: int = 64) -> float:
    with torch.no_grad():
        expected = reference.label_logits(model, rows, prompts)
        found = torch.full_like(expected, torch.nan)
        for part in prefix_scoring.predict(model, rows, prompts, batch_tokens):
            assert found[part.numbers].isnan().all(), "a label came twice"
            found[part.numbers] = part.logits[part.which]
    return float((found - expected).abs().nan_to_num(torch.inf).max())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [*PACKS, *ALONE])
def test_rows_behind_a_cached_prefix_equal_rows_alone(name: str, attention: str) -> None:
    if attention == "sdpa" and name in {"Gemma2", "Bloom"}:
        pytest.skip("transformers gives this model no sdpa")
    model = tiny(name, attention if name in PACKS else None)
    assert probe.agrees(model, prefix_scoring.deep_tree_and_alone, reach.BASE) == (name in PACKS)
    rows = [*answers(4, 3, common=9), *rows_of(RAGGED), *rows_of(RAGGED, prompt=None, seed=5)]
    assert difference(model, rows, [prompt_of(7).detach()]) < TOLERANCE


@pytest.mark.parametrize("length", [0, 1, 7])
@pytest.mark.parametrize("common", [0, 1, 9, 60])
@pytest.mark.parametrize("batch_tokens", [1, 64, 10_000])
def test_for_any_prompt_common_beginning_and_batch(length: int, common: int, batch_tokens: int) -> None:
    rows = answers(9, 3, common)
    assert difference(tiny("Llama"), rows, [prompt_of(length).detach()], batch_tokens) < TOLERANCE


def test_a_first_token_is_predicted_by_the_soft_prompt() -> None:
    tokens = rows_of((6, 1, 3), labels=1)
    rows = [Row(row.tokens, (1.0,) * len(row.tokens), 0) for row in tokens]
    rows += [Row(row.tokens, (1.0, *[0.0] * (len(row.tokens) - 1)), 0) for row in tokens]
    assert difference(tiny("Llama"), rows, [prompt_of(7).detach()]) < TOLERANCE
    with pytest.raises(ValueError, match="first token is to be predicted, and nothing stands before it"):
        prefix_scoring.label_logits(tiny("Llama"), [Row((5, 6), (1.0, 1.0))])


def test_rows_longer_than_a_sliding_window_are_still_right() -> None:
    """The window is 24: a packed row may be longer, a row with its prompt may not."""
    rows = [*answers(6, 2, common=4), *rows_of((40, 24, 25, 18, 17))]
    for name in ("Mistral", "Gemma3"):
        assert difference(tiny(name), rows, [prompt_of(7).detach()], 10_000) < TOLERANCE


def test_logits_come_in_the_order_of_the_contract() -> None:
    model, rows, prompts = (
        tiny("Llama"),
        [*answers(3, 2, 9), *rows_of(RAGGED, prompt=1)],
        [prompt_of(7), prompt_of(3, 2)],
    )
    expected = reference.label_logits(model, rows, prompts)
    with torch.no_grad():
        torch.testing.assert_close(prefix_scoring.label_logits(model, rows, prompts), expected, atol=TOLERANCE, rtol=0)


def test_one_token_choices_of_a_question_share_one_prediction() -> None:
    question = rows_of([6])[0].tokens
    rows = [Row((*question, choice), (*[0.0] * 6, 1.0), 0) for choice in (5, 9, 13, 17)]
    with torch.no_grad():
        parts = list(prefix_scoring.predict(tiny("Llama"), rows, [prompt_of(7)]))
    assert [part.logits.shape for part in parts] == [(1, VOCABULARY)]


def test_only_what_rows_do_not_share_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten questions behind 60 shared tokens: tokens forwarded, padding included, against every row on its own."""
    seen = []
    real = cache.step

    def step(model: Any, kept: Any, new: Tensor, *others: Any) -> Tensor:
        seen.append(new.shape[0] * new.shape[1])
        return real(model, kept, new, *others)

    monkeypatch.setattr(cache, "step", step)
    monkeypatch.setattr(prefix_scoring, "step", step)
    rows, model = answers(10, 3, common=60), tiny("Llama")
    prefix_scoring.label_logits(model, rows, [prompt_of(7)])  # What the model is able to is tried once.
    seen.clear()
    prefix_scoring.label_logits(model, rows, [prompt_of(7)])
    assert seen[0] == 67  # the soft prompt and what all rows share: by itself, once
    assert len(seen) == 2
    assert seen[1] < 10 * (6 + 1 + 2) + 8  # questions, what their longer choices add, and padding to a multiple of 8
    assert sum(7 + len(row.tokens) for row in rows) > 10 * sum(seen)


def test_no_batch_changes_the_prefix_that_the_next_one_starts_from() -> None:
    model = tiny("Llama")
    with torch.no_grad():
        prefix = cache.prefill(model, prompt_of(7), (5, 6, 7))
        before = copy.deepcopy([layer for layer in prefix.layers if layer])
        lines = [prefix_scoring._Line(row, 0, row.labels, row.tokens) for row in rows_of(RAGGED)]
        first = prefix_scoring._packed(model, prefix, 0, lines)
        second = prefix_scoring._packed(model, prefix, 0, lines)
    assert torch.equal(first.logits, second.logits)
    for old, new in zip(before, prefix.layers, strict=True):
        assert new is not None
        assert torch.equal(old[0], new[0])
        assert torch.equal(old[1], new[1])


def _patch_pack(patch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    real = prefix_scoring.pack

    def pack(*arguments: Any, **options: Any) -> Any:
        packed = real(*arguments, **options)
        change(packed)
        return packed

    patch.setattr(prefix_scoring, "pack", pack)


def positions_restart_behind_the_prefix(patch: pytest.MonkeyPatch) -> None:
    real = prefix_scoring.step
    patch.setattr(prefix_scoring, "step", lambda model, kept, new, positions, *rest: real(
        model, kept, new, positions - kept.get_seq_length(), *rest
    ))  # fmt: skip


def positions_run_on(patch: pytest.MonkeyPatch) -> None:
    _patch_pack(patch, lambda packed: packed.positions.copy_(torch.arange(packed.tokens.shape[1])))


def rows_see_their_neighbours(patch: pytest.MonkeyPatch) -> None:
    _patch_pack(patch, lambda packed: packed.end.fill_(packed.end.shape[1]))


def the_prefix_is_not_seen(patch: pytest.MonkeyPatch) -> None:
    real = prefix_scoring.functional.pad
    patch.setattr(prefix_scoring.functional, "pad", lambda mask, sides, value: real(mask, sides, value=1 - value))


def the_prefix_goes_one_token_too_far(patch: pytest.MonkeyPatch) -> None:
    real = prefix_scoring.prefill
    patch.setattr(prefix_scoring, "prefill", lambda model, prompt, tokens: real(model, prompt, (*tokens, 5)))


def one_cache_serves_every_batch(patch: pytest.MonkeyPatch) -> None:
    opened: dict[int, Any] = {}
    real = cache.Prefix.open
    patch.setattr(
        cache.Prefix, "open", lambda prefix, rows, room: opened.setdefault(id(prefix), real(prefix, rows, 999))
    )


BUGS = [
    positions_restart_behind_the_prefix,
    positions_run_on,
    rows_see_their_neighbours,
    the_prefix_is_not_seen,
    the_prefix_goes_one_token_too_far,
    one_cache_serves_every_batch,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_comparison_notices_a_planted_bug(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows, prompts = tiny("Llama"), answers(6, 3, 9), [prompt_of(7).detach()]
    noise = difference(model, rows, prompts, batch_tokens=20)
    bug(monkeypatch)
    try:
        planted = difference(model, rows, prompts, batch_tokens=20)
    except RuntimeError:  # A mask of the wrong width is refused.
        planted = torch.inf
    print(f"noise {noise:.1e}, planted {planted:.1e}")
    assert noise < TOLERANCE / 5
    assert planted > 100 * TOLERANCE


def test_families_are_a_partition_whose_beginnings_are_shared() -> None:
    random = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[int]:
        return torch.randint(0, 3, (count,), generator=random).tolist()

    long, other = draw(50), draw(45)
    strays = [[*long[:n], 7] for n in range(5)]
    sequences = [*([*long, 8, *draw(n)] for n in range(12)), *([*long, *other, *draw(n)] for n in range(10)), *strays]
    for chosen in (sequences, sequences[:12], strays, [], [[]], [long], [long] * 9, [long[:n] for n in range(50)]):
        found = grouping.families(chosen)
        assert sorted(i for family in found for i in family.members) == list(range(len(chosen)))
        for family in found:
            assert all(chosen[i][: family.length] == chosen[family.members[0]][: family.length] for i in family.members)
    sizes = {(family.length, len(family.members)) for family in grouping.families(sequences)}
    assert sizes == {(0, 5), (51, 12), (95, 10)}

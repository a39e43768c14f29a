"""Attention along paths: the same places seen, the same logits and gradients, and a probe that finds who cannot.

TOLERANCE and BUG are those of test_parity.py and test_planted_bugs.py: rounding reaches 2e-5, planted bugs pass 1e-2.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.prefix import packed, reference
from holdfast.prefix.attention import masks, tree_attention
from holdfast.prefix.attention.tree_attention import Group, Paths
from holdfast.prefix.capability import by_path, capability
from holdfast.prefix.model import PrefixModel
from holdfast.prefix.packing import pack
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.row import Row
from tests.prefix.test_parity import RAGGED, TOLERANCE
from tests.prefix.test_planted_bugs import BUG
from tests.prefix.tiny import PACKS, compare, prompt_of, rows_of, tiny

ALONG = partial(packed.label_logits, by_path=True)


def nested() -> list[Row]:
    """Choices of questions behind demonstrations behind a prompt; another prompt, and none."""
    shots, *questions = rows_of((9, 6, 4), labels=1)
    rows = [*rows_of(RAGGED, 1, seed=4), *rows_of((8, 30), None, seed=5)]
    for number, question in enumerate(questions):
        for choice in rows_of((1, 3, 5), labels=1, seed=number + 2):
            tokens = shots.tokens + question.tokens + choice.tokens
            rows.append(Row(tokens, (*[0.0] * (len(tokens) - 1), 1.0), 0))
    return rows


def seen(found: Paths) -> Tensor:
    """How often each place of a packed row (first axis) is scored against each (second axis), read from the groups."""
    size = len(found.order)
    counts, asked = torch.zeros(size, size), torch.cat([group.queries for group in found.groups])
    assert torch.equal(asked[found.order], torch.arange(size))
    place_of = torch.full((len(asked),), -1)
    place_of[found.order] = torch.arange(size)
    begin = 0
    for group in found.groups:
        keys, most = group.keys.view(group.runs, -1), len(group.queries) // group.runs
        mask = group.mask[:, 0].expand(group.runs, -1, -1)
        for run in range(group.runs):
            for i in range(most):
                if (place := int(place_of[begin + run * most + i])) >= 0:
                    counts[place].index_add_(0, keys[run], mask[run, i].float())
        begin += len(group.queries)
    return counts


@pytest.mark.parametrize("waste", [0, 200, 4096])
@pytest.mark.parametrize("rows", [rows_of(RAGGED), rows_of((6,) * 4, None), nested(), rows_of((1,), labels=1)])
def test_every_place_meets_what_it_sees_once(rows: list[Row], waste: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_attention, "WASTE", waste)
    one = pack(rows, [7, 4])
    assert torch.equal(seen(tree_attention.of_row(one.end)), masks.visible(one.end)[0, 0].float())


def test_equal_rows_are_two_calls_and_ragged_ones_are_not_padded_to_the_longest() -> None:
    equal = [replace(row, tokens=(number, *row.tokens[1:])) for number, row in enumerate(rows_of((33,) * 16))]
    groups = tree_attention.of_row(pack(equal, [100]).end).groups
    assert [(group.runs, tuple(group.mask.shape)) for group in groups] == [(15, (1, 1, 32, 132)), (1, (1, 1, 132, 132))]
    assert groups[1].causal
    ragged = tree_attention.of_row(pack(rows_of((400, *[20] * 16), None), []).end).groups
    assert sum(group.mask.shape[2] * group.mask.shape[3] * group.runs for group in ragged) < 400**2 + 17 * 20**2


@pytest.mark.parametrize("name", [name for name in PACKS if name != "Gemma2"])
def test_along_paths_equals_rows_alone(name: str) -> None:
    plain = tiny(name, "sdpa")
    assert by_path(plain)
    assert plain.config._attn_implementation == "sdpa"
    found = compare(reference.label_logits, ALONG, plain, rows_of(RAGGED), [prompt_of(7)])
    assert found.worst < TOLERANCE, found


@pytest.mark.parametrize("waste", [0, 4096])
def test_nested_rows_behind_several_prompts(waste: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_attention, "WASTE", waste)
    prompts = [prompt_of(7), prompt_of(4, seed=2)]
    found = compare(reference.label_logits, ALONG, tiny("Llama"), nested(), prompts)
    assert found.worst < TOLERANCE, found


def an_ancestor_is_lost(group: Group) -> Group:
    return replace(group, mask=group.mask & (torch.arange(group.mask.shape[-1]) != 3))


def a_query_sees_one_place_more(group: Group) -> Group:
    return replace(group, mask=group.mask.roll(1, -1) | group.mask, causal=False)


def keys_of_the_neighbour(group: Group) -> Group:
    return replace(group, keys=group.keys.view(group.runs, -1).roll(1, 0).flatten())


@pytest.mark.parametrize("change", [an_ancestor_is_lost, a_query_sees_one_place_more, keys_of_the_neighbour])
def test_a_planted_bug_fails_parity(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(end: Tensor) -> Paths:
        right = tree_attention.of_row(end)
        return Paths(tuple(map(change, right.groups)), right.order)

    monkeypatch.setattr(packed, "of_row", wrong)
    found = compare(reference.label_logits, ALONG, tiny("Llama"), rows_of(RAGGED), [prompt_of(7)])
    assert found.logits > BUG, found
    assert not by_path(tiny("Llama")), "the probe sees it too"


def test_who_cannot_goes_by_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attention, layers that are computed again, a model that does not hand its paths on."""
    assert not by_path(tiny("Llama", "eager"))
    again = tiny("Llama").train()
    again.activation_checkpointing_enable()
    assert not by_path(again)
    deaf = tiny("Llama")
    forward = deaf.model.forward
    monkeypatch.setattr(deaf.model, "forward", lambda *args, paths=None, **options: forward(*args, **options))
    assert not by_path(deaf)
    prompt, rows = SoftPrompt(prompt_of(7)), rows_of(RAGGED)
    # 1e-5: rounding of logits of the order of 5, as in test_parity.py.
    torch.testing.assert_close(
        PrefixModel(deaf, [prompt])(rows).logits, PrefixModel(tiny("Llama"), [prompt])(rows).logits, atol=1e-5, rtol=0
    )


def test_a_long_prompt_before_many_short_rows_is_not_copied_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bool] = []
    forward = packed.forward

    def noted(plain: Any, layout: Any, prompts: Sequence[Any], along: Paths | None = None) -> Tensor:
        used.append(along is not None)
        return forward(plain, layout, prompts, along)

    monkeypatch.setattr(packed, "forward", noted)
    for length in (7, 80):
        ALONG(tiny("Llama"), rows_of((4,) * 20), [prompt_of(length)])
    assert used == [True, False]


@torch.no_grad()
@pytest.mark.parametrize("asked", [capability, by_path])
def test_autocast_does_not_fail_the_probes(asked: Any) -> None:
    """In bfloat16 rows alone and together differ by percents of the logits' spread; the probes are of the model, not of that."""
    with torch.autocast("cpu", torch.bfloat16):
        found = asked(tiny("Llama"))
        assert found is True or found.packed
        again = tiny("Llama")
        output = PrefixModel(again, [SoftPrompt(prompt_of(7))])(rows_of(RAGGED))
    assert output.logits.dtype == torch.bfloat16
    expected = reference.label_logits(again, rows_of(RAGGED), [prompt_of(7)])
    # 0.1 of the spread: bfloat16's 8 bits, as in test_parity.py; planted bugs move logits by half of it.
    assert float((output.logits.float() - expected).abs().max() / expected.std()) < 0.1
    assert by_path(again)

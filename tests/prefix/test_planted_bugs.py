"""The parity test is able to fail: bugs that people really write, planted one by one, each far above its tolerance."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.prefix import packed, reference
from holdfast.prefix.attention import masks
from holdfast.prefix.packing import Packed, pack
from holdfast.row import Row
from tests.prefix.test_parity import RAGGED, TOLERANCE
from tests.prefix.tiny import Differences, compare, prompt_of, rows_of, tiny

NOISE = 1e-4 / 5  # What two right implementations may differ by, for the tolerance to lie well above it.
BUG = 100 * TOLERANCE  # What every planted bug must differ by at least, for the tolerance to lie well below it.


def positions_restart(layout: Packed) -> Packed:
    """Position ids count from 0 behind the prompt."""
    soft = torch.zeros(layout.tokens.numel(), dtype=torch.bool)
    soft[layout.soft_index] = True
    return replace(layout, positions=torch.where(soft.view_as(layout.tokens), layout.positions, layout.positions - 7))


def positions_run_on(layout: Packed) -> Packed:
    """Position ids count through the packed row."""
    return replace(layout, positions=torch.arange(layout.tokens.shape[1]).expand_as(layout.tokens))


def row_sees_its_neighbour(layout: Packed) -> Packed:
    """Plain causal attention through the packed row."""
    return replace(layout, end=torch.full_like(layout.end, layout.end.shape[1]))


def row_sees_one_token_of_its_neighbour(layout: Packed) -> Packed:
    """A segment that ends one place too late."""
    return replace(layout, end=layout.end + 1)


def labels_one_place_late(layout: Packed) -> Packed:
    """The place of the label, instead of the place that predicts it."""
    return replace(layout, label_index=(layout.label_index + 1) % layout.tokens.numel())


def prefix_is_not_seen(layout: Packed) -> Packed:
    """The prompt ends before the rows begin."""
    end = layout.end.flatten().clone()
    end[layout.soft_index] = end[layout.soft_index].clamp(max=7)
    return replace(layout, end=end.view_as(layout.end))


BUGS = [
    positions_restart,
    positions_run_on,
    row_sees_its_neighbour,
    row_sees_one_token_of_its_neighbour,
    labels_one_place_late,
    prefix_is_not_seen,
]


def with_layout(change: Callable[[Packed], Packed]) -> Callable[..., Tensor]:
    return lambda model, rows, prompts: packed.forward(model, change(pack(rows, [len(p) for p in prompts])), prompts)


def measured(
    capsys: pytest.CaptureFixture[str], bug: Any, rows: Sequence[Row], prompts: Sequence[Tensor], name: str = "Llama"
) -> tuple[Differences, Differences]:
    """(noise, bug), printed."""
    model = tiny(name)
    noise = compare(reference.label_logits, with_layout(lambda layout: layout), model, rows, prompts)
    found = compare(reference.label_logits, bug, model, rows, prompts)
    with capsys.disabled():
        print(f"\n  {getattr(bug, '__name__', bug)}\n    noise: {noise}\n    bug:   {found}")
    return noise, found


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
@pytest.mark.parametrize("change", BUGS, ids=lambda change: change.__name__)
def test_a_wrong_layout_fails_parity(change: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    bug = with_layout(change)
    bug.__name__ = f"{change.__name__} ({name})"
    noise, found = measured(capsys, bug, rows_of(RAGGED), [prompt_of(7)], name)
    assert noise.worst < NOISE
    assert found.logits > BUG
    assert found.prompt > BUG
    assert found.weight > BUG


def test_a_detached_prefix_fails_parity_by_its_gradient(capsys: pytest.CaptureFixture[str]) -> None:
    def prefix_detached(model: Any, rows: Sequence[Row], prompts: Sequence[Tensor]) -> Tensor:
        return packed.label_logits(model, rows, [prompt.detach() for prompt in prompts])

    noise, found = measured(capsys, prefix_detached, rows_of(RAGGED), [prompt_of(7)])
    assert noise.worst < NOISE
    assert found.logits < TOLERANCE  # The forward pass is right: only the gradient tells.
    assert found.prompt > BUG


def test_one_rows_prefix_used_for_all_fails_parity(capsys: pytest.CaptureFixture[str]) -> None:
    def one_prefix_for_all(model: Any, rows: Sequence[Row], prompts: Sequence[Tensor]) -> Tensor:
        return packed.label_logits(model, [replace(row, prompt=0) for row in rows], prompts)

    rows = [*rows_of(RAGGED, 0), *rows_of(RAGGED, 1, seed=1)]
    noise, found = measured(capsys, one_prefix_for_all, rows, [prompt_of(7), prompt_of(7, seed=2)])
    assert noise.worst < NOISE
    assert found.logits > BUG
    assert found.prompt > BUG


def test_attended_padding_fails_parity(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows padded on the left to one length, with positions that count the padding and a mask that shows it."""

    def padding_attended(model: Any, rows: Sequence[Row], prompts: Sequence[Tensor]) -> Tensor:
        longest = max(len(row.tokens) for row in rows)
        return reference.label_logits(model, [padded(row, longest - len(row.tokens)) for row in rows], prompts)

    def padded(row: Row, count: int) -> Row:
        return replace(row, tokens=(0,) * count + row.tokens, weights=(0.0,) * count + row.weights)

    noise, found = measured(capsys, padding_attended, rows_of(RAGGED), [prompt_of(7)])
    assert noise.worst < NOISE
    assert found.logits > BUG


def test_a_boolean_mask_for_eager_attention_fails_parity(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eager attention adds the mask: True counts as 1, False as 0, and everything is seen."""
    model, rows, prompts = tiny("Gemma2", "eager"), rows_of(RAGGED), [prompt_of(7)]
    noise = compare(reference.label_logits, packed.label_logits, model, rows, prompts)
    monkeypatch.setattr(masks, "additive", lambda end, dtype: masks.visible(end))
    found = compare(reference.label_logits, packed.label_logits, model, rows, prompts)
    with capsys.disabled():
        print(f"\n  boolean mask for eager attention\n    noise: {noise}\n    bug:   {found}")
    assert noise.worst < NOISE
    assert found.logits > BUG

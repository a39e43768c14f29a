"""Every form of the mask says the same as the sentence that defines it: a place sees itself and its ancestors."""

import pytest
import torch

from holdfast.prefix.attention import masks
from holdfast.prefix.packing import pack
from holdfast.row import Row


def row(*tokens: int) -> Row:
    return Row(tokens, (*[0.0] * (len(tokens) - 1), 1.0), 0)


PACKED = pack([row(1, 2, 3, 0), row(1, 2, 4, 5, 0), row(6, 0)], [2], multiple=4)


def test_the_mask_of_a_small_tree_by_hand() -> None:
    """Prompt p q, then 1 2 (3 | 4 5), then 6; the place after it is padding."""
    expected = """
    x . . . . . . .
    x x . . . . . .
    x x x . . . . .
    x x x x . . . .
    x x x x x . . .
    x x x x . x . .
    x x x x . x x .
    x x . . . . . x
    """
    lines = [[mark == "x" for mark in line.split()] for line in expected.split("\n") if line.strip()]
    assert PACKED.tokens.tolist() == [[0, 0, 1, 2, 3, 4, 5, 6]]
    assert torch.equal(masks.visible(PACKED.end)[0, 0], torch.tensor(lines))


def test_every_place_sees_itself() -> None:
    seen = masks.visible(pack([row(1, 2), row(3, 4, 5)], [2], budget=3, multiple=16).end)
    assert seen.diagonal(dim1=-2, dim2=-1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_additive_mask_is_zero_where_seen_and_the_lowest_number_elsewhere(dtype: torch.dtype) -> None:
    seen, added = masks.visible(PACKED.end), masks.additive(PACKED.end, dtype)
    assert added.dtype == dtype
    assert torch.equal(added == 0, seen)
    assert (added[~seen] == torch.finfo(dtype).min).all()


@pytest.mark.parametrize("block", [2, 16])
def test_the_block_mask_shows_the_same_places(block: int) -> None:
    many = pack([row(*range(i, i + 12)) for i in range(6)], [4], budget=24)
    made = masks.blocks(many.end, block)
    rows, length = many.end.shape
    places = torch.arange(length)
    shown = torch.stack(
        [made.mask_mod(torch.tensor(r), torch.tensor(0), places[:, None], places[None, :]) for r in range(rows)]
    )
    seen = masks.visible(many.end)[:, 0]
    assert torch.equal(shown, seen)
    kept = made.to_dense()[:, 0].bool().repeat_interleave(block, 1).repeat_interleave(block, 2)[:, :length, :length]
    assert not (seen & ~kept).any()  # No visible place lies in a skipped block,
    if block == 2:
        assert not kept.all()  # and some blocks are skipped.


def test_each_attention_gets_the_form_that_it_reads_rightly() -> None:
    assert masks.for_attention("sdpa", PACKED.end, torch.float32).dtype == torch.bool
    assert masks.for_attention("eager", PACKED.end, torch.float16).dtype == torch.float16
    assert masks.for_attention(None, PACKED.end, torch.float32).dtype == torch.float32
    assert masks.for_attention("flex_attention", PACKED.end, torch.float32).shape[-2:] == (8, 8)

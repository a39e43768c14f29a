"""Model Stock: how far it goes by hand, its ends, models that did not move, and mergekit's result."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from holdfast.edits.model_stock import ModelStock
from holdfast.weights.layout import Layout

NAME = "model.layers.0.mlp.up_proj.weight"
LOCATION = Layout({NAME: (4, 4)}).locate(NAME)


def alike(count: int, seed: int, size: tuple[int, ...] = (30, 50)) -> tuple[Tensor, list[Tensor]]:
    """A base, and tuned tensors whose changes share about half of their length, so that cosines are near 1/2."""
    draw = torch.Generator().manual_seed(seed)
    base, common, *alone = (torch.randn(size, generator=draw) for _ in range(count + 2))
    return base, [base + common + change for change in alone]


def test_two_models_by_hand() -> None:
    """Changes (2, 0) and (2, 2) have a cosine of 1 / sqrt(2); t = 2c / (1 + c), on the way to their mean (2, 1)."""
    base = torch.tensor([1.0, 1.0])
    edited = ModelStock()(base, [base + torch.tensor([2.0, 0]), base + torch.tensor([2.0, 2])], LOCATION)
    t = 2 * 0.5**0.5 / (1 + 0.5**0.5)
    # 1e-6: float32; the mean itself, of t = 1, is off by 0.17 and more.
    torch.testing.assert_close(edited, base + t * torch.tensor([2.0, 1]), rtol=1e-6, atol=0)


def test_three_models_by_hand() -> None:
    """Cosines 1, 0 and 0, so a mean of 1/3: t = 1 / (1 + 2/3) = 0.6 of the way to the mean change (4/3, 1/3)."""
    base = torch.zeros(2)
    tuned = [torch.tensor(row) for row in ([1.0, 0], [3.0, 0], [0.0, 1])]
    edited = ModelStock()(base, tuned, LOCATION)
    torch.testing.assert_close(edited, 0.6 * torch.tensor([4 / 3, 1 / 3]), rtol=1e-6, atol=0)
    half = ModelStock(scale=0.5)(base, tuned, LOCATION)
    torch.testing.assert_close(half, 0.3 * torch.tensor([4 / 3, 1 / 3]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("other", [[0.0, 3], [-1.0, 0], [-2.0, 1]], ids=["right-angle", "opposite", "beyond"])
def test_changes_that_have_nothing_in_common_go_back_to_the_base(other: list[float]) -> None:
    base = torch.tensor([1.0, -0.0])
    edited = ModelStock()(base, [base + torch.tensor([1.0, 0]), base + torch.tensor(other)], LOCATION)
    assert torch.equal(edited, base)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_equal_models_are_the_tuned_model(count: int, seed: int) -> None:
    """To the rounding of a mean of equal numbers, of which two and four have none."""
    base, (tuned, *_) = alike(2, seed, (12, 9))
    edited = ModelStock()(base, [tuned] * count, LOCATION)
    torch.testing.assert_close(edited, tuned, rtol=3e-7, atol=0)
    assert count not in (2, 4) or torch.equal(edited, tuned)


def test_a_model_that_did_not_move_takes_no_part() -> None:
    """With it the two others' mean cosine would fall from a half to a sixth, and their mean by a third."""
    base, tuned = alike(2, 0)
    assert torch.equal(ModelStock()(base, [*tuned, base], LOCATION), ModelStock()(base, tuned, LOCATION))
    assert torch.equal(ModelStock()(base, [tuned[0], base], LOCATION), tuned[0])
    assert torch.equal(ModelStock()(base, [base, base], LOCATION), base)


def test_it_goes_as_far_as_the_angles_say_however_small_the_changes_are() -> None:
    """Changes of 1e-6 beside weights of 0 have the cosine that changes of 1 have: no floor under their norms may shrink it."""
    _, tuned = alike(3, 1)
    base = torch.zeros_like(tuned[0])
    small = ModelStock()(base, [1e-6 * change for change in tuned], LOCATION)
    # 1e-12: float32 beside numbers of 1e-6; a floor of 1e-6 under the product of the norms would halve them and more.
    torch.testing.assert_close(small, 1e-6 * ModelStock()(base, tuned, LOCATION), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_mergekit_makes_the_same(count: int) -> None:
    registry = pytest.importorskip("mergekit.merge_methods.registry", reason="pip install --no-deps mergekit")
    base, tuned = alike(count, 5)
    merged = registry.get("model_stock").merge_group(
        SimpleNamespace(
            base=SimpleNamespace(tensor=base), non_base=[SimpleNamespace(tensor=tensor) for tensor in tuned]
        ),
        filter_wise=False,
    )
    # 4e-6: float32 sums of numbers near 1 in another order; a cosine off by 1 % moves them by 1e-3.
    torch.testing.assert_close(ModelStock()(base, tuned, LOCATION), merged, rtol=1e-6, atol=4e-6)

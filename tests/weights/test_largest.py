"""The largest so many are exactly those that sorting finds, of equals the first, in a stream and row by row."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.weights import largest
from holdfast.weights.largest import Bits, magnitudes, select_top, select_top_of_rows


def sorting(bits: Bits, keep: int) -> np.ndarray:
    """The plain way: a stable sort of a vector."""
    mask = np.zeros(bits.size, bool)
    mask[np.argsort(-bits.astype(np.int64), kind="stable")[:keep]] = True
    return mask


def numbers(kind: str, rows: int, size: int, draw: np.random.Generator, dtype: torch.dtype = torch.float32) -> Bits:
    """Magnitudes of random changes: plain, full of equals, mostly zero, of unlike rows, or with what is no number."""
    found = torch.from_numpy(draw.standard_normal((rows, size))).to(dtype)
    if kind == "grid":
        found = (2 * found).round() / 2
    if kind == "zeros":
        found[torch.from_numpy(draw.random((rows, size)) < 0.6)] = 0
    if kind == "unlike":
        found *= torch.from_numpy(np.exp(4 * draw.standard_normal((rows, 1)))).to(dtype)
    if kind == "broken":
        found[0, :3], found[0, 3:5] = float("nan"), float("inf")
    return magnitudes(torch.zeros_like(found), found)


KINDS = ["plain", "grid", "zeros", "unlike", "broken"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_of_rows_is_sorting_row_by_row(kind: str, dtype: torch.dtype) -> None:
    draw = np.random.default_rng(0)
    for rows, size in [(1, 1), (3, 7), (2, 512), (7, 513), (4, 3001)]:
        bits = numbers(kind, rows, max(size, 5), draw, dtype)
        keeps = [0, 1, size // 10, size // 2, size - 1, size, size + 5]
        for keep, mask in zip(keeps, select_top_of_rows(bits, keeps), strict=True):
            assert (mask == np.stack([sorting(row, keep) for row in bits])).all(), (rows, size, keep)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_of_slices_is_sorting_the_whole(kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(largest, "WHOLE", 100)
    monkeypatch.setattr(largest, "SAMPLE", 200)
    bits = numbers(kind, 90, 211, np.random.default_rng(1), dtype)
    for step in (1, 7, 90):
        slices = [bits[first : first + step] for first in range(0, 90, step)]
        for keep in (0, 1, 50, bits.size // 5, bits.size // 2, bits.size - 1, bits.size):
            chosen = select_top(
                lambda n, stride, slices=slices: [
                    part.reshape(-1)[::stride] if stride > 1 else part for part in slices[::n]
                ],
                bits.size,
                keep,
            )
            found = np.concatenate([chosen(part) for part in slices])
            assert (found.reshape(-1) == sorting(bits.reshape(-1), keep)).all(), (step, keep)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    size=st.integers(1, 700),
    levels=st.sampled_from([1, 2, 5, 300, 10**6]),
    zeros=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_the_largest_are_those_that_torch_sorts_first(
    rows: int, size: int, levels: int, zeros: float, share: float, seed: int
) -> None:
    """Few different numbers, so that equals crowd at the threshold, and rows that are mostly one number, which are sorted another way."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(-levels, levels + 1, (rows, size), generator=draw) / levels
    values[torch.rand(rows, size, generator=draw) < zeros] = 0
    bits = magnitudes(torch.zeros(rows, size), values)
    row_keep, keep = int(share * size), int(share * rows * size)
    order = values.abs().argsort(dim=1, descending=True, stable=True)[:, :row_keep]
    expected = torch.zeros(rows, size, dtype=torch.bool).scatter_(1, order, True)
    half, chosen = select_top_of_rows(bits, [row_keep // 2, row_keep])
    assert (chosen == expected.numpy()).all()
    assert (half <= chosen).all()
    assert (half.sum(axis=1) == row_keep // 2).all()
    whole = torch.zeros(rows * size, dtype=torch.bool)
    whole[values.abs().view(-1).argsort(descending=True, stable=True)[:keep]] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(largest, "WHOLE", 50)
        patch.setattr(largest, "STRIDE", 7)
        select = select_top(lambda n, stride: [part.reshape(-1)[::stride] for part in bits[::n]], bits.size, keep)
    found = np.concatenate([select(row) for row in bits])
    assert (found == whole.numpy()).all()


@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_a_sample_of_unlike_slices_costs_at_most_four_passes(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first slice of each tensor stands for it, as where a whole model is ranked; here it is a thousand times smaller."""
    monkeypatch.setattr(largest, "WHOLE", 0)
    draw = np.random.default_rng(3)
    bits = magnitudes(torch.zeros(64, 4000), torch.from_numpy(draw.integers(1, levels + 1, (64, 4000))).float())
    bits[0] = magnitudes(torch.zeros(4000), torch.linspace(0, 1e-3, 4000))
    passes: list[tuple[int, int]] = []

    def every(n: int, stride: int) -> list[Bits]:
        passes.append((n, stride))
        return [row[::stride] for row in bits[: 1 if stride > 1 else None]]

    for keep in (10, 2_000, 100_000, 250_000, 255_999):
        passes.clear()
        select = select_top(every, bits.size, keep)
        assert (np.concatenate([select(row) for row in bits]) == sorting(bits.reshape(-1), keep)).all(), keep
        assert 2 <= len(passes) <= 5


@pytest.mark.parametrize("bracket", [(-1, 5), (1 << 30, 1 << 31), (7, 7), (1065353216, 1065353217)])
def test_a_sample_that_misled_costs_a_pass_and_nothing_else(
    bracket: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(largest, "WHOLE", 0)
    monkeypatch.setattr(largest, "_bracket", lambda *_: bracket)
    bits = numbers("grid", 20, 50, np.random.default_rng(2))
    for keep in (1, 300, 999):
        assert (
            select_top(lambda n, stride: [bits], 1000, keep)(bits).reshape(-1) == sorting(bits.reshape(-1), keep)
        ).all()

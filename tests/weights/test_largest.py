"""The largest so many are exactly those that sorting finds, of equals the first, in a stream and row by row."""

import numpy as np
import pytest
import torch

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
            chosen = select_top(lambda n, slices=slices: slices[::n], bits.size, keep)
            found = np.concatenate([chosen(part) for part in slices])
            assert (found.reshape(-1) == sorting(bits.reshape(-1), keep)).all(), (step, keep)


@pytest.mark.parametrize("bracket", [(-1, 5), (1 << 30, 1 << 31), (7, 7), (1065353216, 1065353217)])
def test_a_sample_that_misled_costs_a_pass_and_nothing_else(
    bracket: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(largest, "WHOLE", 0)
    monkeypatch.setattr(largest, "_bracket", lambda *_: bracket)
    bits = numbers("grid", 20, 50, np.random.default_rng(2))
    for keep in (1, 300, 999):
        assert (select_top(lambda n: [bits], 1000, keep)(bits).reshape(-1) == sorting(bits.reshape(-1), keep)).all()

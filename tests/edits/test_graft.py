"""A graft is one ranking over the whole model, to the number, and its overlap is what counting gives."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from holdfast.api.edit import edit_model
from holdfast.edits.base import Slices
from holdfast.edits.graft import Graft
from holdfast.weights.largest import count
from holdfast.weights.layout import Layout, TensorLocation

SHAPES = {
    "model.embed_tokens.weight": (6, 4),
    "model.layers.0.mlp.up_proj.weight": (9, 4),
    "model.layers.0.norm.weight": (4,),
    "model.layers.1.mlp.up_proj.weight": (5, 20),
}
LAYOUT = Layout(SHAPES)
quick = settings(max_examples=25, deadline=None)


def model(seed: int, *, quarters: bool) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}
    return {name: (4 * t).round() / 4 if quarters else t for name, t in tensors.items()}


def slices(base: Tensor, tuned: list[Tensor], rows: int) -> Slices:
    cuts = range(0, len(base), rows)
    return Slices(
        base.numel(),
        lambda n, which: [(base[i : i + rows], [tuned[w][i : i + rows] for w in which]) for i in list(cuts)[::n]],
        len(tuned),
    )


def grafted(
    edit: Graft, base: dict[str, Tensor], tuned: list[dict[str, Tensor]], rows: int
) -> tuple[dict[str, Tensor], Graft]:
    """The edited model by slices of `rows`, its tensors in reverse order, as threads may take them."""
    sides: list[tuple[Slices, TensorLocation]] = []
    for name in SHAPES:
        sides.append((slices(base[name], [t[name] for t in tuned], rows), LAYOUT.locate(name)))
    ready, edited = edit.prepare(sides), {}
    for part, location in reversed(sides):
        apply = ready.over(part, location)
        edited[location.name] = torch.cat([apply(b, t) for b, t in part.every(1)])
    return edited, ready  # pyright: ignore[reportReturnType]


@quick
@given(
    seed=st.integers(0, 2**31),
    density=st.floats(0, 1),
    rows=st.integers(1, 9),
    quarters=st.booleans(),
    all_=st.booleans(),
)
def test_the_largest_changes_of_the_whole_model_and_exactly_so_many(
    seed: int, density: float, rows: int, quarters: bool, all_: bool
) -> None:
    base, tuned = model(seed, quarters=quarters), model(seed + 1, quarters=quarters)
    edit = Graft(density, blocks_only=not all_)
    edited, _ = grafted(edit, base, [tuned], rows)
    ranked = [name for name in SHAPES if all_ or ".layers." in name]
    changes = torch.cat([(tuned[name] - base[name]).abs().view(-1) for name in ranked])
    wanted = count(density, len(changes))
    kept = torch.cat([(edited[name] == tuned[name]).view(-1) for name in ranked])
    # Where a change is zero, tuned and base are the same number, so it does not show if it was chosen.
    assert int((kept & (changes > 0)).sum()) == min(wanted, int((changes > 0).sum()))
    moved = changes[kept & (changes > 0)]
    if len(moved) and not kept.all():
        assert moved.min() >= changes[~kept].max()
    for name in SHAPES:
        assert torch.equal(torch.where(edited[name] == tuned[name], tuned[name], base[name]), edited[name])
        assert name in ranked or torch.equal(edited[name], base[name])


@quick
@given(seed=st.integers(0, 2**31), quarters=st.booleans())
def test_overlap_is_the_share_of_one_patch_that_lies_in_the_other(seed: int, quarters: bool) -> None:
    base, first, second = (model(seed + i, quarters=quarters) for i in range(3))
    _, ready = grafted(Graft(0.2), base, [first, second], 3)
    alone = []
    for tuned in (first, second):
        # One more than the base at each number, so that a chosen change shows even where it is zero.
        edited, _ = grafted(Graft(0.2), base, [tuned], 3)
        alone.append(torch.cat([(edited[n] != base[n]).view(-1) for n in SHAPES if ".layers." in n]))
    facts = ready.facts
    assert facts["grafted"] == [28, 28]  # 0.2 of 140
    if not quarters:
        expected = float((alone[0] & alone[1]).sum()) / 28
        assert facts["overlap"] == [[1.0, pytest.approx(expected, abs=1e-4)], [pytest.approx(expected, abs=1e-4), 1.0]]


def test_of_a_model_on_disk_with_tied_weights_twice_each_number_is_ranked_once(tmp_path: Path) -> None:
    """The head is the embedding stored a second time: ranked twice, it would take two of the three places."""
    names = ("model.embed_tokens.weight", "lm_head.weight")
    deltas = torch.tensor([[3.0, 0], [0, 1]])
    for side, factor in (("base", 0.0), ("tuned", 1.0)):
        (tmp_path / side).mkdir()
        (tmp_path / side / "config.json").write_text("{}")
        tensors = {name: (factor * deltas).bfloat16() for name in names}
        tensors["model.layers.0.w.weight"] = (factor * torch.tensor([[0.0, 2], [0.5, 0]])).bfloat16()
        save_file(tensors, tmp_path / side / "model.safetensors", {"format": "pt"})
    out = edit_model(tmp_path / "base", tmp_path / "tuned", "graft", tmp_path / "out", density=3 / 8, blocks_only=False)
    edited = load_file(out / "model.safetensors")
    assert torch.equal(edited[names[0]].float(), deltas)
    assert torch.equal(edited[names[1]].float(), deltas)
    assert torch.equal(edited["model.layers.0.w.weight"].float(), torch.tensor([[0.0, 2], [0, 0]]))
    both = [tmp_path / "tuned", tmp_path / "tuned"]
    record = json.loads(
        (edit_model(tmp_path / "base", both, "graft", tmp_path / "two", density=0.5) / "edit.json").read_text()
    )
    assert (record["grafted"], record["overlap"]) == ([2, 2], [[1.0, 1.0], [1.0, 1.0]])

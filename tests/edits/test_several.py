"""Edits of several tuned models: the single form, closed forms, the order of the models, and mergekit's results."""

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from holdfast import plugins
from holdfast.api.edit import edit_model
from holdfast.edits.base import Edit
from holdfast.edits.breadcrumbs import Breadcrumbs
from holdfast.edits.dare import BernoulliStream, Dare
from holdfast.edits.graft import Graft
from holdfast.edits.magnitude import Magnitude
from holdfast.edits.shadow import Shadow
from holdfast.edits.task_arithmetic import TaskArithmetic
from holdfast.edits.ties import Ties
from holdfast.edits.wise_ft import WiseFt
from holdfast.weights.layout import Layout

NAME = "model.layers.0.mlp.up_proj.weight"
LOCATION = Layout({NAME: (4, 4)}).locate(NAME)
SEVERAL = [name for name, edit in plugins.members(plugins.EDITS).items() if edit.takes_several]
quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)
shapes = st.sampled_from([(7,), (1, 1), (3, 40), (12, 9), (2, 3, 8)])


def models(shape: tuple[int, ...], seed: int, count: int, *, quarters: bool = False) -> tuple[Tensor, list[Tensor]]:
    """A base and tuned tensors; in whole quarters, whose sums are exact in any order."""
    draw = torch.Generator().manual_seed(seed)
    base, *tuned = (torch.randn(shape, generator=draw) for _ in range(count + 1))
    if quarters:
        base, *tuned = ((4 * tensor).round() / 4 for tensor in (base, *tuned))
    return base, tuned


@pytest.mark.parametrize("name", [name for name in SEVERAL if name not in ("shadow", "dare")])
@quick
@given(shape=shapes, seed=seeds)
def test_the_order_of_the_models_does_not_matter(name: str, shape: tuple[int, ...], seed: int) -> None:
    """To the bit, as sums of quarters round nowhere; an edit that weighs the first model more, or elects by it, fails."""
    base, tuned = models(shape, seed, 3, quarters=True)
    kind = plugins.find(name, plugins.EDITS)
    edit = kind(**{field.name: 0.5 for field in fields(kind) if field.name == "scale"})
    expected = edit(base, tuned, LOCATION)
    # The mean of three numbers rounds once, by the same division.
    assert torch.equal(edit(base, [tuned[2], tuned[0], tuned[1]], LOCATION), expected)


@pytest.mark.parametrize("name", [name for name in SEVERAL if plugins.members(plugins.EDITS)[name].fewest == 1])
@quick
@given(shape=shapes, seed=seeds)
def test_a_second_model_that_did_not_move_changes_nothing(name: str, shape: tuple[int, ...], seed: int) -> None:
    """1e-6: base + (tuned - base) rounds once or twice in float32; a mean over both models would halve every change."""
    base, (tuned,) = models(shape, seed, 1)
    edit = plugins.find(name, plugins.EDITS)()
    both = edit(base, [tuned, base], LOCATION)
    torch.testing.assert_close(both, edit(base, [tuned], LOCATION), rtol=1e-6, atol=2e-6)


@quick
@given(shape=shapes, seed=seeds, density=st.sampled_from([0.1, 0.5, 1.0]))
def test_one_model_by_ties_is_magnitude(shape: tuple[int, ...], seed: int, density: float) -> None:
    base, tuned = models(shape, seed, 1)
    expected = Magnitude(density, 0.7)(base, tuned, LOCATION)
    assert torch.equal(Ties(density, 0.7)(base, tuned, LOCATION), expected)


def test_ties_by_hand() -> None:
    """Two of the changes +3, +1, -2 agree with their sum's sign, and their mean is 2; the majority of -1, -1, +4 is outvoted by
    the larger; a tie of +1 and -1 goes to plus; the trimmed change of the last number takes no part."""
    base = torch.tensor([10.0, 0.0, 0.0, 0.0])
    tuned = [torch.tensor(row) for row in ([13.0, -1, 1, 0.5], [11.0, -1, -1, 0], [8.0, 4, 0, 0])]
    edited = Ties(density=0.75)(base, tuned, LOCATION)
    assert torch.equal(edited, torch.tensor([12.0, 4.0, 1.0, 0.0]))


def test_ties_by_model_is_the_papers_algorithm_on_the_whole_vector(tmp_path: Path) -> None:
    """By the definition, on flattened models: trim to the top share of all numbers, elect by the sum, mean of those that agree.

    The second tensor moves a tenth as far, and keeps nothing; ranked by itself it would keep its share."""
    shapes = {"model.layers.0.w.weight": (30, 20), "model.layers.1.w.weight": (20, 30)}
    draw, folders = torch.Generator().manual_seed(0), []
    for number in range(4):
        tensors = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
        tensors["model.layers.1.w.weight"] *= 0.1
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        (folders[-1] / "config.json").write_text("{}")
        save_file(tensors, folders[-1] / "model.safetensors", {"format": "pt"})
    flat = [torch.cat([t.flatten() for t in load_file(f / "model.safetensors").values()]) for f in folders]
    deltas = torch.stack(flat[1:]) - flat[0]
    kept = torch.zeros_like(deltas).scatter(1, deltas.abs().topk(240).indices, 1.0)  # 0.2 of 1,200
    trimmed = deltas * kept
    agree = (trimmed * trimmed.sum(0).sign()) > 0
    expected = flat[0] + (trimmed * agree).sum(0) / agree.sum(0).clamp(min=1)
    out = edit_model(folders[0], folders[1:], "ties", tmp_path / "out", scope="model")
    edited = torch.cat([t.flatten() for t in load_file(out / "model.safetensors").values()])
    # 1e-6: float32 sums of numbers near 1 in another order; a change that is trimmed or not moves a number by 0.1 and more.
    torch.testing.assert_close(edited, expected, rtol=0, atol=1e-6)
    assert torch.equal(edited[600:], flat[0][600:])
    by_tensor = edit_model(folders[0], folders[1:], "ties", tmp_path / "by tensor")
    assert not torch.equal(
        load_file(by_tensor / "model.safetensors")["model.layers.1.w.weight"].flatten(), flat[0][600:]
    )


def test_breadcrumbs_masks_each_model_by_itself_and_scales_once() -> None:
    """Rows of four, one outlier and one kept: 4 goes and 3 stays, 8 goes and -6 stays; their sum times a half."""
    base = torch.zeros(1, 4)
    tuned = [torch.tensor([[4.0, 3, 2, 1]]), torch.tensor([[1.0, 2, 8, -6]])]
    edited = Breadcrumbs(density=0.25, outliers=0.25, scale=0.5)(base, tuned, LOCATION)
    assert torch.equal(edited, torch.tensor([[0.0, 1.5, 0, -3]]))


@quick
@given(seed=seeds, density=st.sampled_from([0.1, 0.3]))
def test_breadcrumbs_of_several_is_the_sum_of_each(seed: int, density: float) -> None:
    """1e-6: float32 sums of numbers near 1 in another order; a band over the sum instead of each model is off by whole changes."""
    base, tuned = models((5, 40), seed, 3)
    for scope in ("row", "tensor"):
        edit = Breadcrumbs(density, 0.1, scope=scope)
        apart = sum((edit(base, [after], LOCATION) - base for after in tuned), start=base)
        torch.testing.assert_close(edit(base, tuned, LOCATION), apart, rtol=0, atol=4e-6)


def test_dare_draws_for_each_model_and_the_first_as_for_one() -> None:
    base, ones = torch.zeros(20_000), torch.ones(20_000)
    first = Dare(0.25)(base, [ones], LOCATION)
    both = Dare(0.25)(base, [ones, ones], LOCATION)
    second = both - first
    assert set(second.unique().tolist()) == {0.0, 4.0}
    # 4 standard errors of a product of independent draws, 1 / 16; draws that all models share would make it 1 / 4.
    assert abs(float((first * second / 16).mean()) - 1 / 16) < 4 * (1 / 16 / 20_000) ** 0.5


def test_shadow_carries_the_change_of_the_base_over() -> None:
    base, instruct, tuned = torch.tensor([1.0, 2]), torch.tensor([5.0, 2]), torch.tensor([1.5, 1])
    assert torch.equal(Shadow()(base, [instruct, tuned], LOCATION), torch.tensor([5.5, 1.0]))
    assert torch.equal(Shadow(2.0)(base, [instruct, tuned, tuned], LOCATION), torch.tensor([7.0, -2.0]))


@quick
@given(shape=shapes, seed=seeds, scale=st.sampled_from([0.3, 1.0]))
def test_shadow_onto_the_base_is_the_straight_line_and_of_an_unmoved_base_nothing(
    shape: tuple[int, ...], seed: int, scale: float
) -> None:
    base, (tuned, instruct) = models(shape, seed, 2)
    expected = WiseFt(scale)(base, [tuned], LOCATION)
    torch.testing.assert_close(Shadow(scale)(base, [base, tuned], LOCATION), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(Shadow(scale)(base, [instruct, base], LOCATION), instruct)


def test_shadow_of_one_model_is_refused() -> None:
    with pytest.raises(ValueError, match="shadow takes an instruct model and at least one tuned base"):
        Shadow()(torch.zeros(2), [torch.zeros(2)], LOCATION)


class FixedDraws:
    """`torch.bernoulli` for mergekit, with the draws that `Dare` takes."""

    def __init__(self, density: float) -> None:
        seeds = [f"0 {NAME}", f"0 {NAME} 1", f"0 {NAME} 2"]
        self.streams = [BernoulliStream(density, seed) for seed in seeds]

    def __call__(self, probabilities: Tensor) -> Tensor:
        drawn = torch.from_numpy(self.streams.pop(0)(probabilities.numel()))
        return drawn.view(probabilities.shape).to(probabilities.dtype)


MERGES = [
    (TaskArithmetic(0.4), "task_arithmetic", {}),
    (Ties(0.3, 0.8), "ties", {"density": 0.3}),
    (Dare(0.3, 0.8), "dare_linear", {"density": 0.3}),
    (Breadcrumbs(0.3, 0.1, 0.8, "tensor"), "breadcrumbs", {"density": 0.3, "gamma": 0.1}),
]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("edit", "method", "given_fields"), MERGES, ids=[case[1] for case in MERGES])
def test_mergekit_makes_the_same(
    edit: Any, method: str, given_fields: dict[str, float], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random numbers have no equals, about which the two may differ. 4e-6: float32 sums of numbers near 1 in another order."""
    registry = pytest.importorskip("mergekit.merge_methods.registry", reason="pip install --no-deps mergekit")
    base, tuned = models((30, 50), 5, count)
    entries = [SimpleNamespace(id=number, tensor=tensor) for number, tensor in enumerate(tuned)]
    parameters = {
        key: dict.fromkeys(range(count), value)
        for key, value in {"density": 1.0, "weight": 1.0, **given_fields}.items()
    }
    rule = registry.get(method)
    if method == "dare_linear":
        # Its `rescale` matches the norm of what was drawn; the paper, and ours, divide by the density.
        monkeypatch.setattr(torch, "bernoulli", FixedDraws(0.3))
    divided = 0.3 if method == "dare_linear" else 1.0
    merged = rule.merge_group(
        SimpleNamespace(base=SimpleNamespace(tensor=base), non_base=entries),
        **parameters, normalize=rule.default_normalize, rescale=False, int8_mask=False,
        **{"lambda": edit.scale / divided},
    )  # fmt: skip
    torch.testing.assert_close(edit(base, tuned, LOCATION), merged, rtol=1e-6, atol=4e-6)


def test_the_edits_of_several_are_those_that_say_so() -> None:
    assert set(SEVERAL) >= {"breadcrumbs", "dare", "graft", "shadow", "task_arithmetic", "ties"}
    assert all(issubclass(plugins.find(name, plugins.EDITS), Edit) for name in SEVERAL)
    assert Graft.fewest == 1

"""Every edit at its ends is exact, keeps what it says, and is found by its file.

Ends are compared by `torch.equal`, without a tolerance: `base + 1.0 * (tuned - base)` is not `tuned`.
"""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from holdfast import edits, plugins
from holdfast.edits._deltas import choose
from holdfast.edits.base import Edit, Slices
from holdfast.edits.breadcrumbs import Breadcrumbs
from holdfast.edits.dare import BernoulliStream, Dare
from holdfast.edits.half_reset import HalfReset
from holdfast.edits.intruders import Intruders
from holdfast.edits.lines import Lines
from holdfast.edits.magnitude import Magnitude
from holdfast.edits.shadow import Shadow
from holdfast.edits.task_arithmetic import TaskArithmetic
from holdfast.edits.wise_ft import WiseFt
from holdfast.weights.largest import count
from holdfast.weights.layout import Layout, TensorLocation

EDITS = plugins.members(plugins.EDITS)
NAMES = [f"model.layers.{i}.mlp.{part}.weight" for i in range(5) for part in ("up_proj", "down_proj")]
LAYOUT = Layout(dict.fromkeys(["model.embed_tokens.weight", *NAMES], (4, 4)))
LOCATIONS = [LAYOUT.locate(name) for name in LAYOUT.shapes]

shares = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)
sizes = st.integers(1, 300)
seeds = st.integers(0, 2**31)
quick = settings(max_examples=30, deadline=None)


def pair(size: int, seed: int, kind: str = "random") -> tuple[Tensor, Tensor]:
    """A base and a tuned vector: random, equal, differing by the same amount everywhere, or zero."""
    draw = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=draw)
    if kind == "zeros":
        return torch.zeros(size), torch.zeros(size)
    deltas = {"random": torch.randn(size, generator=draw), "equal": torch.zeros(size), "same": torch.ones(size)}
    return base, base + deltas[kind]


def several(edit: Edit | type[Edit], tuned: Tensor) -> list[Tensor]:
    """The tuned tensor as often as the edit wants one."""
    return [tuned] * edit.fewest


def kept(edit: Edit, delta: Tensor) -> Tensor:
    """Which changes an edit of scale 1 keeps, of changes that are not zero."""
    return edit(torch.zeros_like(delta), [delta], LOCATIONS[1]) != 0


def examples(attribute: str) -> list[Edit]:
    """Every edit at the settings that its class lists under `attribute`."""
    chosen: list[Edit] = []
    for kind in EDITS.values():
        chosen += [kind(**settings) for settings in getattr(kind, attribute)]
    return chosen


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_says_at_which_settings_it_does_nothing_and_all(name: str) -> None:
    """An edit that left its examples out would be tested at neither end, and nobody would notice."""
    assert {"EXAMPLES_OFF", "EXAMPLES_BASE"} <= vars(EDITS[name]).keys()


@pytest.mark.parametrize("edit", examples("EXAMPLES_OFF"), ids=repr)
@quick
@given(size=sizes, seed=seeds)
def test_an_edit_that_is_off_gives_the_tuned_tensor(edit: Edit, size: int, seed: int) -> None:
    base, tuned = pair(size, seed)
    for location in LOCATIONS:
        assert torch.equal(edit(base, several(edit, tuned), location), tuned)


@pytest.mark.parametrize("edit", examples("EXAMPLES_BASE"), ids=repr)
@quick
@given(size=sizes, seed=seeds)
def test_an_edit_that_takes_all_back_gives_the_base_tensor(edit: Edit, size: int, seed: int) -> None:
    base, tuned = pair(size, seed)
    for location in LOCATIONS:
        assert torch.equal(edit(base, several(edit, tuned), location), base)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("attribute", ["EXAMPLES_OFF", "EXAMPLES_BASE"])
def test_ends_are_bit_by_bit_beside_negative_zeros_and_infinities(attribute: str, dtype: torch.dtype) -> None:
    """The bug: `lerp` from 1 to -0 by a weight of 1 is +0, and from an infinity it is NaN."""
    base = torch.tensor([[1.0, -0.0, 0.0, math.inf, 2.0, -1.0], [-0.0] * 6]).to(dtype)
    tuned = torch.tensor([[-0.0, 1.0, -0.0, 3.0, math.inf, -0.0], [0.0, -0.0, 1, -1, 2, 3]]).to(dtype)
    integer = torch.int16 if dtype is torch.bfloat16 else torch.int32
    for edit in examples(attribute):
        if (not edit.takes_16_bits and dtype is torch.bfloat16) or isinstance(edit, Intruders):  # No SVD of infinities.
            continue
        expected = tuned if attribute == "EXAMPLES_OFF" else base
        result = edit(base, [tuned] * edit.fewest, LOCATIONS[3])
        assert torch.equal(result.view(integer), expected.view(integer)), edit
        if edit.takes_several and getattr(edit, "scale", 1) == 0 and not isinstance(edit, Shadow):
            result = edit(base, [tuned, base], LOCATIONS[3])
            assert torch.equal(result.view(integer), base.view(integer)), edit


@pytest.mark.parametrize("name", EDITS)
def test_a_single_number_without_dimensions_is_edited(name: str) -> None:
    """As models store a learned temperature. numpy gives a number and no array for arithmetic on such."""
    for dtype in (torch.float32, torch.bfloat16) if EDITS[name].takes_16_bits else (torch.float32,):
        base, tuned = torch.tensor(1.0, dtype=dtype), torch.tensor(3.0, dtype=dtype)
        edit = EDITS[name]()
        for models in [[tuned] * edit.fewest, *([[tuned, base]] if edit.takes_several else [])]:
            result = edit(base, models, LOCATIONS[3])
            assert result.shape == ()
            assert result.dtype is dtype
            assert torch.isfinite(result)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", [name for name, kind in EDITS.items() if kind.takes_16_bits])
def test_16_bits_as_stored_give_the_same_bits_as_float32(name: str, dtype: torch.dtype) -> None:
    """Beside numbers, an infinity, a NaN and a negative zero. Rounded on the way, half of the numbers would differ."""
    draw, edit = torch.Generator().manual_seed(0), EDITS[name]()
    for scale in (1e-3, 1.0, 1e4):
        base = (scale * torch.randn(5, 77, generator=draw)).to(dtype)
        tuned = (base + 0.1 * scale * torch.randn(5, 77, generator=draw)).to(dtype)
        base[0, :3] = torch.tensor([math.inf, math.nan, -0.0])
        for location in LOCATIONS:
            edited, exact = edit(base, [tuned], location), edit(base.float(), [tuned.float()], location)
            assert torch.equal(edited.view(torch.int16), exact.to(dtype).view(torch.int16)), (scale, location.name)


@pytest.mark.parametrize("edit", [*examples("EXAMPLES_OFF"), *(kind() for kind in EDITS.values())], ids=repr)
@quick
@given(size=sizes, seed=seeds, kind=st.sampled_from(["equal", "zeros"]))
def test_a_model_that_did_not_move_is_not_moved(edit: Edit, size: int, seed: int, kind: str) -> None:
    base, tuned = pair(size, seed, kind)
    assert torch.equal(edit(base, several(edit, tuned), LOCATIONS[3]), base)


@quick
@given(
    name=st.sampled_from(sorted(EDITS)),
    size=sizes,
    rows=st.integers(0, 3),
    seed=seeds,
    kind=st.sampled_from(["random", "equal", "same", "zeros"]),
    share=shares,
)
def test_any_edit_keeps_shape_and_dtype_and_makes_no_nan_and_changes_nothing_it_was_given(
    name: str, size: int, rows: int, seed: int, kind: str, share: float
) -> None:
    known = {field.name for field in fields(EDITS[name])}
    given_fields = {
        k: v for k, v in {"alpha": share, "density": share, "outliers": (1 - share) / 2}.items() if k in known
    }
    edit = EDITS[name](**given_fields)
    base, tuned = pair(size, seed, kind)
    shape = (rows, size) if rows else (size,)
    base, tuned = base.expand(shape).clone(), tuned.expand(shape).clone()
    before = base.clone(), tuned.clone()
    result = edit(base, several(edit, tuned), LOCATIONS[5])
    assert result.shape == shape
    assert result.dtype == base.dtype
    assert torch.isfinite(result).all()
    assert torch.equal(base, before[0])
    assert torch.equal(tuned, before[1])


@quick
@given(size=sizes, seed=seeds, density=shares, kind=st.sampled_from(["random", "same"]))
def test_magnitude_keeps_exactly_the_largest_of_each_tensor(size: int, seed: int, density: float, kind: str) -> None:
    base, tuned = pair(size, seed, kind)
    delta = tuned - base
    mask = kept(Magnitude(density), delta)
    assert int(mask.sum()) == count(density, size)
    if mask.any() and not mask.all():
        assert delta.abs()[mask].min() >= delta.abs()[~mask].max()


@quick
@given(
    size=sizes,
    rows=st.integers(1, 4),
    seed=seeds,
    density=shares,
    rest=shares,
    scope=st.sampled_from(["row", "tensor"]),
    same=st.booleans(),
)
def test_breadcrumbs_keeps_exactly_the_middle_band(
    size: int, rows: int, seed: int, density: float, rest: float, scope: Any, same: bool
) -> None:
    edit = Breadcrumbs(density, rest * (1 - density), scope=scope)
    delta = torch.ones(rows, size) if same else torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))
    mask = kept(edit, delta)
    lines = (mask, delta) if scope == "row" else (mask.view(1, -1), delta.view(1, -1))
    if delta.numel() == 1:
        return
    n = lines[0].shape[1]
    top = count(edit.outliers, n)
    expected = min(max(1, count(density, n)), n - top) if density else 0
    for chosen, values in zip(*lines, strict=True):
        assert int(chosen.sum()) == expected
        if not chosen.any() or same:
            continue
        ranked = values.abs().sort(descending=True).values
        assert torch.equal(values.abs()[chosen].sort(descending=True).values, ranked[top : top + expected])


@pytest.mark.parametrize("scope", ["row", "tensor"])
def test_breadcrumbs_drops_nothing_where_the_outliers_come_to_less_than_one(scope: Any) -> None:
    """A negative slice with length 0, `[:-0]`, is everything: the mistake that wipes small tensors."""
    base, tuned = pair(60, 0)
    edit = Breadcrumbs(density=0.99, outliers=0.01, scope=scope)
    assert int(kept(edit, tuned - base).sum()) == 59
    assert torch.equal(
        Breadcrumbs(0.5, 0.001, scope=scope)(base, [tuned], LOCATIONS[1]),
        Breadcrumbs(0.5, 0.0, scope=scope)(base, [tuned], LOCATIONS[1]),
    )


def test_breadcrumbs_on_a_row_by_hand() -> None:
    """Ten changes of 1 to 10: the 10 is an outlier, 9 and 8 stay, the others go back."""
    base = torch.zeros(1, 10)
    tuned = torch.tensor([[1.0, -2, 3, -4, 5, -6, 7, -8, 9, -10]])
    expected = torch.tensor([[0.0, 0, 0, 0, 0, 0, 0, -4, 4.5, 0]])
    assert torch.equal(Breadcrumbs(density=0.2, outliers=0.1, scale=0.5)(base, [tuned], LOCATIONS[1]), expected)


def test_breadcrumbs_refuses_more_than_all() -> None:
    with pytest.raises(ValidationError, match="more than 1 together"):
        Breadcrumbs(0.8, 0.3)


@quick
@given(alpha=st.floats(0, 1))
def test_lines_grows_evenly_from_alpha_to_exactly_one(alpha: float) -> None:
    factors = [Lines(alpha).factor(location) for location in LOCATIONS]
    assert factors[0] == alpha, "what lies outside the blocks goes by alpha"
    assert factors[1] == alpha
    assert factors[-1] == 1.0
    # 1e-12: rounding of float64; a factor off by one block would differ by a quarter of 1 - alpha.
    for block in range(5):
        assert math.isclose(factors[1 + 2 * block], alpha + (1 - alpha) * block / 4, rel_tol=0, abs_tol=1e-12)


def test_lines_with_beta_zero_is_wise_ft() -> None:
    base, tuned = pair(100, 0)
    for location in LOCATIONS:
        assert torch.equal(Lines(0.3, 0.0)(base, [tuned], location), WiseFt(0.3)(base, [tuned], location))


def test_lines_takes_a_single_block_as_the_last_and_counts_each_stack_for_itself() -> None:
    single = Layout({"transformer.h.0.mlp.c_fc.weight": (2, 2)})
    assert Lines(0.25).factor(single.locate("transformer.h.0.mlp.c_fc.weight")) == 1.0
    two = Layout(
        {
            f"{stack}.block.{i}.layer.0.q.weight": (2, 2)
            for stack, n in (("encoder", 3), ("decoder", 5))
            for i in range(n)
        }
    )
    assert Lines(0.2).factor(two.locate("encoder.block.2.layer.0.q.weight")) == 1.0
    assert Lines(0.2).factor(two.locate("decoder.block.2.layer.0.q.weight")) == pytest.approx(0.6)


def test_lines_scales_what_stands_behind_the_blocks_by_alpha_or_as_the_last() -> None:
    blocks = {f"model.layers.{i}.mlp.up_proj.weight": (8, 4) for i in range(3)}
    outside = {"model.embed_tokens.weight": (10, 4), "model.norm.weight": (4,), "lm_head.weight": (10, 4)}
    layout = Layout(blocks | outside)
    assert {Lines(0.25).factor(layout.locate(name)) for name in outside} == {0.25}
    factors = {name: Lines(0.25, 0.5, post="last").factor(layout.locate(name)) for name in outside | blocks}
    assert [factors[name] for name in outside] == [0.25, 0.75, 0.75]
    assert [factors[name] for name in blocks] == [0.25, 0.5, 0.75]
    # Of tied weights one name is left, which may be the head's: they are the embeddings.
    tied = Layout(blocks | {"lm_head.weight": (10, 4), "model.norm.weight": (4,)})
    assert Lines(0.25, post="last").factor(tied.locate("lm_head.weight")) == 0.25
    assert Lines(0.25, post="last").factor(tied.locate("model.norm.weight")) == 1.0


def test_task_arithmetic_exaggerates_and_unlearns() -> None:
    base, tuned = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])
    assert torch.equal(TaskArithmetic(2.0)(base, [tuned], LOCATIONS[0]), torch.tensor([5.0, 0.0]))
    assert torch.equal(TaskArithmetic(-1.0)(base, [tuned], LOCATIONS[0]), torch.tensor([-1.0, 3.0]))


def test_task_arithmetic_adds_the_deltas_of_several_models() -> None:
    """Base 1; deltas +2 and -3, so at scale 0.5 the result is 1 - 0.5. A mean of the deltas would give 0.75."""
    base = torch.tensor([1.0, 10.0])
    tuned = [torch.tensor([3.0, 11.0]), torch.tensor([-2.0, 12.0]), torch.tensor([1.0, 10.5])]
    before = [tensor.clone() for tensor in (base, *tuned)]
    assert torch.equal(TaskArithmetic(0.5)(base, tuned[:2], LOCATIONS[0]), torch.tensor([0.5, 11.5]))
    assert torch.equal(TaskArithmetic(1.0)(base, tuned, LOCATIONS[0]), torch.tensor([0.0, 13.5]))
    assert torch.equal(TaskArithmetic(0.0)(base, tuned, LOCATIONS[0]), base)
    assert all(torch.equal(a, b) for a, b in zip((base, *tuned), before, strict=True))


@pytest.mark.parametrize("name", [name for name, kind in EDITS.items() if not kind.takes_several])
def test_an_edit_of_one_model_never_ignores_a_second(name: str) -> None:
    with pytest.raises(ValueError, match="one tuned model, not 2"):
        EDITS[name]()(torch.zeros(4), [torch.ones(4), torch.ones(4)], LOCATIONS[1])


def test_dare_keeps_the_share_and_the_mean_and_draws_by_name() -> None:
    base, tuned = torch.zeros(100_000), torch.ones(100_000)
    result = Dare(0.25)(base, [tuned], LOCATIONS[1])
    assert set(result.unique().tolist()) == {0.0, 4.0}
    # Standard error of the mean: 4 * sqrt(.25 * .75 / 1e5) = 0.0055; without rescaling the mean would be 0.25.
    assert abs(float(result.mean()) - 1) < 0.03
    assert torch.equal(result, Dare(0.25)(base, [tuned], LOCATIONS[1]))
    assert not torch.equal(result, Dare(0.25)(base, [tuned], LOCATIONS[2]))
    assert not torch.equal(result, Dare(0.25, seed=1)(base, [tuned], LOCATIONS[1]))


def test_dare_of_next_to_nothing_keeps_nothing() -> None:
    """The bug: 1 / 1e-136 is no number in float32, and the edit ended in a traceback."""
    base, tuned = pair(100, 0)
    for scale in (1.0, -1.0):
        assert torch.equal(Dare(1e-136, scale)(base, [tuned], LOCATIONS[1]), base)


@pytest.mark.parametrize("density", [0.25, 0.2, 0.001, 0.9999])
def test_draws_are_the_same_in_any_number_at_a_time_and_true_with_their_probability(density: float) -> None:
    whole = BernoulliStream(density, "0 name")(200_000)
    apart, upto = BernoulliStream(density, "0 name"), 0
    for size in (1, 7, 8, 1000, 3, 65_536, 0, 133_445):
        assert (apart(size) == whole[upto : upto + size]).all()
        upto += size
    assert upto == len(whole)
    # 4 standard errors; without the second stream 0.001 would be 0 and 0.2 would be 51 / 256 = 0.1992.
    assert abs(whole.mean() - density) < 4 * math.sqrt(density * (1 - density) / len(whole))


def test_the_byte_that_a_share_falls_into_is_decided_by_its_fraction() -> None:
    """1/1024 is a quarter of the lowest byte: 8 standard errors apart from none and from all of it."""
    share = BernoulliStream(1 / 1024, "0 name")(200_000).mean()
    assert abs(share - 1 / 1024) < 4 * math.sqrt(1 / 1024 / 200_000)


@quick
@given(
    rows=st.integers(1, 12),
    step=st.integers(1, 12),
    seed=seeds,
    grid=st.booleans(),
    name=st.sampled_from(sorted(EDITS)),
)
def test_any_edit_by_slices_is_the_edit_of_the_whole(rows: int, step: int, seed: int, grid: bool, name: str) -> None:
    """Bits, not nearly: thresholds, equals and draws belong to the tensor, wherever it is cut."""
    draw = torch.Generator().manual_seed(seed)
    base, tuned = torch.zeros(rows, 30), torch.randn(rows, 30, generator=draw)
    tuned = (tuned * 2).round() / 2 if grid else tuned
    kinds = [EDITS[name](), Breadcrumbs(0.3, 0.2, scope="tensor")] if name == "breadcrumbs" else [EDITS[name]()]
    cuts = range(0, rows, step)
    models = several(EDITS[name], tuned)
    slices = Slices(
        base.numel(),
        lambda n, which: [(base[i : i + step], [models[w][i : i + step] for w in which]) for i in list(cuts)[::n]],
        len(models),
    )
    for edit in kinds:
        if not edit.sliceable:
            continue
        apply = edit.over(slices, LOCATIONS[3])
        assert torch.equal(torch.cat([apply(*pair) for pair in slices.every(1)]), edit(base, models, LOCATIONS[3]))


def test_choose_gives_either_to_the_bit() -> None:
    one, other = torch.tensor([1.0, 2, 3, 4]), torch.tensor([-0.0, float("inf"), float("nan"), 5])
    found = choose(np.array([False, False, False, True]), one.clone(), other)
    assert torch.equal(found.view(torch.int32)[:3], other.view(torch.int32)[:3])
    assert found[3] == 4
    wide = choose(
        np.array([True, False]), torch.tensor([1 / 3, 1], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    )
    assert wide.tolist() == [1 / 3, 0]


def llama(blocks: int) -> Layout:
    """Names and ranks as Llama has them, with a bias at one projection."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (8, 4),
        "model.norm.weight": (4,),
        "lm_head.weight": (8, 4),
    }
    for i in range(blocks):
        for part in ("q", "k", "v", "o"):
            shapes[f"model.layers.{i}.self_attn.{part}_proj.weight"] = (4, 4)
        shapes[f"model.layers.{i}.self_attn.q_proj.bias"] = (4,)
        shapes |= {f"model.layers.{i}.self_attn.{part}_norm.weight": (4,) for part in "qk"}
        shapes |= {f"model.layers.{i}.mlp.{part}_proj.weight": (4, 4) for part in ("gate", "up", "down")}
        shapes |= {f"model.layers.{i}.{part}_layernorm.weight": (4,) for part in ("input", "post_attention")}
    return Layout(shapes)


@quick
@given(seed=seeds, blocks=st.integers(1, 6))
def test_half_reset_takes_back_half_of_each_category_of_each_block(seed: int, blocks: int) -> None:
    layout = llama(blocks)
    edit = HalfReset(seed)
    base, tuned = torch.zeros(1), torch.ones(1)
    back = {name for name in layout.shapes if torch.equal(edit(base, [tuned], layout.locate(name)), base)}
    assert not [name for name in back if ".layers." not in name]
    of_three = []
    for i in range(blocks):
        inside = [name.removeprefix(f"model.layers.{i}.") for name in back if name.startswith(f"model.layers.{i}.")]
        assert sum(name.startswith("self_attn") and name.endswith("proj.weight") for name in inside) == 2
        assert sum(name.startswith("self_attn") and name.endswith("norm.weight") for name in inside) == 1
        assert sum("layernorm" in name for name in inside) == 1
        assert ("self_attn.q_proj.bias" in inside) == ("self_attn.q_proj.weight" in inside)
        of_three.append(sum(name.startswith("mlp") for name in inside))
    assert sorted(of_three) == [1] * (blocks - blocks // 2) + [2] * (blocks // 2)


def test_half_reset_draws_anew_with_the_seed() -> None:
    layout = llama(4)
    base, tuned = torch.zeros(1), torch.ones(1)
    draws = {
        tuple(float(HalfReset(seed)(base, [tuned], layout.locate(name))) for name in layout.shapes) for seed in range(5)
    }
    assert len(draws) == 5


def test_count_rounds_down_what_is_meant_and_not_what_is_stored() -> None:
    assert int(0.29 * 100) == 28
    assert count(0.29, 100) == 29
    assert count(0.299, 100) == 29


FILES = sorted(
    path.stem for path in Path(edits.__path__[0]).glob("*.py") if path.stem != "base" and not path.stem.startswith("_")
)


@pytest.mark.parametrize("name", FILES)
def test_every_file_holds_one_edit_of_its_name_with_a_summary_a_source_and_defaults(name: str) -> None:
    kind = EDITS[name]
    assert kind.__module__ == f"holdfast.edits.{name}"
    technique = plugins.techniques(plugins.EDITS)[name]
    assert technique.summary.endswith(".")
    assert technique.source
    edit = kind()
    assert kind(**{field.name: getattr(edit, field.name) for field in fields(kind)}) == edit
    with pytest.raises((ValidationError, AttributeError, TypeError)):
        setattr(edit, next((field.name for field in fields(kind)), "anything"), 0.1)


def test_files_and_chosenare_the_same_set() -> None:
    assert sorted(EDITS) == FILES


@pytest.mark.parametrize(
    "bad", [{"alpha": 1.1}, {"alpha": -0.1}, {"alpha": float("nan")}, {"alpha": "much"}, {"beta": 1}]
)
def test_a_wrong_value_is_refused_at_construction(bad: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, TypeError)):
        WiseFt(**bad)


def test_blocks_are_found_by_the_list_and_not_by_any_number() -> None:
    def where(name: str) -> tuple[int | None, int]:
        location: TensorLocation = Layout({name: (1,)}).locate(name)
        return location.block, location.blocks

    assert where("model.layers.11.mlp.experts.3.w1.weight") == (11, 12)
    assert where("transformer.h.4.attn.c_attn.weight") == (4, 5)
    assert where("h.4.attn.c_attn.weight") == (4, 5)
    assert where("encoder.block.3.layer.0.SelfAttention.q.weight") == (3, 4)
    assert where("bert.encoder.layer.7.output.dense.weight") == (7, 8)
    assert where("gpt_neox.layers.2.mlp.dense.weight") == (2, 3)
    assert where("score.0.weight") == (None, 0)
    assert where("model.embed_tokens.weight") == (None, 0)
    assert where("path.0.weight") == (None, 0)

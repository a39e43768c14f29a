"""The learned graft: every weight is the base's or the tuned model's own, and the mask starts as the largest changes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from holdfast.api.edit import edit_model
from holdfast.api.tune import tune
from holdfast.methods.full import Full
from holdfast.methods.graft_mask import GraftMask
from holdfast.methods.kl_base import KlBase
from holdfast.models import loading
from holdfast.prefix.model import PrefixModel
from holdfast.training.loop import Trainer
from tests.recipes.worlds import write_world
from tests.training import tiny


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was tuned from the tiny one."""
    folder = tmp_path_factory.mktemp("tuned")
    run = tiny.trainer(folder, Full(), steps=20)
    run.train()
    loading.save(run.pretrained, folder / "model")
    return folder


def grafted(folder: Path, tuned: Path, *others: Any, steps: int = 6, **fields: Any) -> Trainer:
    options: dict[str, Any] = {"bias": 1.5, "density": 0.1} | fields
    run = tiny.trainer(folder, GraftMask(tuned=str(tuned), **options), *others, steps=steps, learning_rate=0.3)
    run.train()
    return run


def exported(run: Trainer, folder: Path) -> dict[str, torch.Tensor]:
    run.methods[0].export(run.model, run.pretrained, folder)
    return load_file(folder / "model" / "model.safetensors")


def test_every_weight_is_the_bases_or_the_tuned_models_and_both_sides_change(tmp_path: Path, tuned: Path) -> None:
    base, after = tiny.weights(tiny.trainer(tmp_path / "x", Full())), load_file(tuned / "model" / "model.safetensors")
    run = grafted(tmp_path, tuned)
    rows = tiny.rows()
    with torch.no_grad():
        measured = run.model(rows).logits
    left = exported(run, tmp_path)
    facts = json.loads((tmp_path / "graft.json").read_text())
    moved = 0
    for name, tensor in left.items():
        start, end = base[f"model.{name}"], after[name]
        assert bool(((tensor == start) | (tensor == end)).all()), name
        moved += int((tensor != start).sum())
        if "layers." not in name:
            assert torch.equal(tensor, start)
    assert facts["grafted_at_start"] == int(0.1 * facts["ranked"])
    assert facts["grafted"] not in (facts["grafted_at_start"], 0)
    assert (
        0.98 * facts["grafted"] <= moved <= facts["grafted"]
    )  # a weight that did not move looks the same on both sides
    plain = PrefixModel(loading.load(tmp_path / "model").model)
    with torch.no_grad():
        # What validation looked at is what is written, to the bit.
        assert torch.equal(plain(rows).logits, measured)
    assert type(run.pretrained.model.lm_head).__name__ == "Linear"


def test_without_a_step_it_is_the_edit_graft(tmp_path: Path, tuned: Path) -> None:
    run = grafted(tmp_path, tuned, steps=0)
    loading.save(tiny.pretrained(), tmp_path / "base")
    left = exported(run, tmp_path)
    edited = load_file(
        edit_model(tmp_path / "base", tuned / "model", "graft", tmp_path / "e", density=0.1) / "model.safetensors"
    )
    assert all(torch.equal(left[name], edited[name]) for name in edited)


def test_a_whole_graft_is_the_tuned_model(tmp_path: Path, tuned: Path) -> None:
    left = exported(grafted(tmp_path, tuned, steps=0, density=1.0, blocks_only=False), tmp_path)
    after = load_file(tuned / "model" / "model.safetensors")
    assert all(torch.equal(left[name], after[name]) for name in after)


def test_the_gradient_is_the_papers(tmp_path: Path, tuned: Path) -> None:
    """By hand: that of the weight, times its change, times (1 - 2 B), times the slope of the sigmoid."""
    run = grafted(tmp_path, tuned, steps=0)
    model, rows = run.model.train(), tiny.rows()
    layer: Any = model.model.model.layers[0].mlp.up_proj
    mask = layer.parametrizations.weight[0]
    loss = model(rows).total(
        lambda logits, labels, weights: torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    )
    (by_autograd,) = torch.autograd.grad(loss, mask.scores)
    copy = tiny.pretrained()
    with torch.no_grad():
        for name, weight in copy.model.named_parameters():
            parent, _, end = name.rpartition(".")
            weight.copy_(getattr(model.model.get_submodule(parent), end))
    plain: Any = copy.model.model.layers[0].mlp.up_proj.weight.requires_grad_()
    loss = PrefixModel(copy.model)(rows).total(
        lambda logits, labels, weights: torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    )
    (gradient,) = torch.autograd.grad(loss, plain)
    slope = torch.sigmoid(mask.scores - 1.5)
    sign = 1 - 2 * mask.patch.float()
    base = layer.parametrizations.weight.original
    by_hand = gradient * (mask.tuned[0] - base) * sign * slope * (1 - slope)
    torch.testing.assert_close(
        by_autograd, by_hand.detach(), rtol=1e-3, atol=1e-7
    )  # float32 noise; a wrong sign is off by 2


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, tuned: Path) -> None:
    whole = exported(grafted(tmp_path / "whole", tuned), tmp_path / "whole")
    grafted(tmp_path / "parts", tuned, steps=3)
    parts = exported(grafted(tmp_path / "parts", tuned), tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_others_take_the_base_for_their_reference_and_not_the_graft(tmp_path: Path, tuned: Path) -> None:
    run = grafted(tmp_path, tuned, KlBase(strength=0.1), steps=1)
    rows = tiny.rows()
    kl: Any = run.methods[1]
    with torch.no_grad():
        reference, base = (
            PrefixModel(kl._base)(rows).logits,
            PrefixModel(tiny.pretrained().model)(rows).logits,
        )
    assert torch.equal(reference, base)


def test_what_is_missing_is_said_before_anything_is_loaded(tmp_path: Path, tuned: Path) -> None:
    with pytest.raises(ValueError, match="there is no tuned model to start from; name its folder"):
        GraftMask().versions()
    with pytest.raises(ValueError, match="no folder of a model"):
        GraftMask(tuned=str(tmp_path)).versions()
    with pytest.raises(ValueError, match="takes 1 tuned model, and tuned names 2"):
        GraftMask(tuned=f"{tuned},{tuned}").versions()
    loading.save(tiny.pretrained(), tmp_path / "base")
    with pytest.raises(ValueError, match="has the weights of the base"):
        grafted(tmp_path / "a", tmp_path / "base")
    other = loading.load(tuned / "model")
    other.model.resize_token_embeddings(50)
    loading.save(other, tmp_path / "other")
    with pytest.raises(ValueError, match="was not tuned from this base: model"):
        grafted(tmp_path / "b", tmp_path / "other")


def test_the_recipe_tunes_first_and_a_folder_serves_as_well(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    both: dict[str, Any] = {
        f"{stage}.{key}": value for stage in ("dense", "model") for key, value in (("steps", 2), ("batch_size", 4))
    }
    run = tune(world / "model", world / "pick", "tuned_graft", world / "copy", limit=4, out=tmp_path / "run", **both)
    assert set(run.config["stages"]) == {"dense", "model"}
    assert "dense" not in run.config["stages"]["model"]
    quick: dict[str, Any] = {"model.steps": 2, "model.batch_size": 4, "model.tuned": str(run.folder)}
    again = tune(world / "model", world / "pick", "graft_mask", limit=4, out=tmp_path / "again", **quick)
    assert again.config["stages"]["model"]["tuned"] == str(run.folder)


@pytest.mark.parametrize(("recipe", "method"), [("tuned_graft", "graft_mask"), ("tuned_atlas", "atlas")])
def test_a_recipe_that_tunes_the_model_refuses_one_that_was_tuned_before(recipe: str, method: str) -> None:
    """It was ignored without a word."""
    from holdfast.recipes.find import find_recipe
    from holdfast.recipes.plan import RecipePlan
    from holdfast.tasks.task_set import TaskRef

    plan = RecipePlan("model", (TaskRef("task"),), {"model": {"tuned": "some/folder"}})
    with pytest.raises(ValueError, match=rf"^model.tuned='some/folder': .* or use --method {method}$"):
        find_recipe(recipe)(plan)

"""LT-SFT: exactly the share that moved furthest moves again, from the start, and nothing else does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import holdfast
from holdfast.api.tune import tune
from holdfast.methods.full import Full
from holdfast.methods.sparse_mask import SparseMask
from holdfast.models import loading
from holdfast.training.loop import Trainer
from tests.recipes.worlds import write_world
from tests.training import tiny


def dense(folder: Path) -> Trainer:
    """The first phase, with its model saved as the stage leaves it."""
    trainer = tiny.trainer(folder, Full(), learning_rate=1e-2)
    trainer.train()
    loading.save(trainer.pretrained, folder / "model")
    return trainer


def sparse(folder: Path, first: Path, density: float, **settings: object) -> Trainer:
    """The second phase, from the start."""
    trainer = tiny.trainer(folder, SparseMask(density=density), **settings)  # pyright: ignore[reportArgumentType]
    trainer.inputs = [{"dense": first}]
    trainer.train()
    return trainer


@pytest.mark.parametrize("density", [0.01, 0.3])
def test_only_the_largest_changes_move_and_all_else_is_bit_identical(tmp_path: Path, density: float) -> None:
    start = {name: p.detach().clone() for name, p in tiny.pretrained().model.named_parameters()}
    first = dict(dense(tmp_path / "dense").model.model.named_parameters())
    second = dict(
        sparse(tmp_path / "sparse", tmp_path / "dense", density, weight_decay=0.5).model.model.named_parameters()
    )
    changes = torch.cat([(first[name] - start[name]).abs().reshape(-1) for name in start])
    moved = torch.cat([(second[name] != start[name]).reshape(-1) for name in start])
    keep = round(density * len(changes))
    # Never more than asked for, and hardly fewer: a weight may come back to its own bits. Decay alone would move all of them.
    assert 0.95 * keep <= int(moved.sum()) <= keep
    assert float(changes[moved].detach().min()) >= float(changes.detach().sort(descending=True).values[keep - 1])


def test_a_density_of_one_is_full_fine_tuning(tmp_path: Path) -> None:
    dense(tmp_path / "dense")
    sparse(tmp_path / "sparse", tmp_path / "dense", 1.0, learning_rate=1e-2)
    assert tiny.losses(tmp_path / "sparse") == tiny.losses(tmp_path / "dense")


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    dense(tmp_path / "dense")
    whole = sparse(tmp_path / "whole", tmp_path / "dense", 0.1)
    sparse(tmp_path / "parts", tmp_path / "dense", 0.1, steps=3)
    parts = sparse(tmp_path / "parts", tmp_path / "dense", 0.1)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_a_dense_stage_the_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use --method lt_sft"):
        tiny.trainer(tmp_path, SparseMask()).train()


def test_the_recipe_trains_twice_and_its_configuration_repeats_it(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    both: dict[str, Any] = {
        f"{stage}.{key}": value for stage in ("dense", "model") for key, value in (("steps", 2), ("batch_size", 4))
    }
    both["model.density"] = 0.1
    run = tune(world / "model", world / "pick", "lt_sft", world / "copy", limit=4, out=tmp_path / "run", **both)
    tensors = load_file(run.folder / "model" / "model.safetensors")
    start = load_file(world / "model" / "model.safetensors")
    moved = sum(int((tensors[name] != start[name]).sum()) for name in start)
    assert 0 < moved <= round(0.1 * sum(tensor.numel() for tensor in start.values()))
    # The difference alone is a model, on the base that it names.
    again = holdfast.load(run.folder / "model" / "difference").pretrained
    added = dict(again.model.named_parameters())
    assert again.attached == ""
    # Rounding of one sum in float32; the base instead is away by the training.
    assert all(torch.allclose(added[name], tensors[name], rtol=0, atol=1e-6) for name in added)
    assert all(
        torch.equal(added[name][tensors[name] == start[name]], start[name][tensors[name] == start[name]])
        for name in added
    )
    assert set(run.config["stages"]) == {"dense", "model"}
    assert "dense" not in run.config["stages"]["model"]
    dense_set: dict[str, Any] = {"model.dense": 1}
    with pytest.raises(ValueError, match=r"model\.dense"):
        tune(world / "model", world / "pick", "lt_sft", out=tmp_path / "other", **dense_set)

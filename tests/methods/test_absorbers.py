"""Stage-1 absorbers: exactly their parameters move, they learn, and a killed stage goes on bitwise."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from holdfast.methods.base import Context, Method
from holdfast.methods.full import Full
from holdfast.methods.joined_absorber import JoinedAbsorber
from holdfast.methods.lora_absorber import LoraAbsorber
from holdfast.methods.prefix_tuning import PrefixTuning
from holdfast.prefix.model import PrefixModel
from holdfast.prompts import load
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.tasks.task_set import TaskRef
from tests.prefix import tiny as prefix_tiny
from tests.training import tiny
from tests.training.test_resume import Kill

KINDS = {
    "keys and values": (PrefixTuning(length=3), 0.05, {"keys", "values"}),
    "network": (PrefixTuning(length=3, hidden=8), 0.2, {"encoder"}),
    "LoRA": (LoraAbsorber(rank=2), 0.01, {"down", "up"}),
    "all three": (JoinedAbsorber(length=3, deep=2, rank=2), 0.2, {"parts"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_its_own_parameters_move_and_the_loss_falls(kind: str, tmp_path: Path) -> None:
    method, rate, own = KINDS[kind]
    run = tiny.trainer(tmp_path, method, steps=40, save_every=40, learning_rate=rate)
    start = tiny.weights(tiny.trainer(tmp_path / "start", Method(), model=tiny.pretrained()))
    run.train()
    moving = {name for name, p in run.model.named_parameters() if p.requires_grad}
    assert {name.split(".")[2] for name in moving if name.startswith("prompts.0.")} == own
    assert all(name.startswith("prompts.0.") for name in moving)
    assert all(
        torch.equal(p, start[name]) for name, p in run.model.named_parameters() if name not in moving and name in start
    )
    losses = tiny.losses(tmp_path)
    # The four last steps against the four first: memorising eight rows of the same answers; without a gradient they are equal.
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4]), losses


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_stage_goes_on_bitwise(kind: str, tmp_path: Path) -> None:
    whole = tiny.trainer(tmp_path / "whole", KINDS[kind][0], Method(), learning_rate=0.05)
    whole.train()
    with pytest.raises(RuntimeError, match="killed"):
        tiny.trainer(tmp_path / "killed", KINDS[kind][0], Kill(4), learning_rate=0.05).train()
    torch.manual_seed(12345)
    resumed = tiny.trainer(tmp_path / "killed", KINDS[kind][0], Method(), learning_rate=0.05)
    resumed.train()
    assert tiny.losses(tmp_path / "whole") == tiny.losses(tmp_path / "killed")
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.weights(whole).values(), tiny.weights(resumed).values(), strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_stage_two_trains_the_weights_behind_it_and_leaves_it_alone(kind: str, tmp_path: Path) -> None:
    first = tiny.trainer(tmp_path / "first", KINDS[kind][0], learning_rate=0.05)
    first.train()
    KINDS[kind][0].export(first.model, first.pretrained, tmp_path)
    frozen = load.load(tmp_path / "prompt")
    second = tiny.trainer(tmp_path / "second", Full())
    second.model.prompts.append(frozen)
    before = {name: p.detach().clone() for name, p in frozen.named_parameters()}
    weights = tiny.weights(second)
    second.train()
    assert all(torch.equal(p, before[name]) for name, p in frozen.named_parameters())
    assert any(not torch.equal(p, weights[f"model.{name}"]) for name, p in second.model.model.named_parameters())
    row = replace(tiny.rows(1)[0], prompt=0)
    on, off = (PrefixModel(second.model.model, [frozen])([given]).logits for given in (row, replace(row, prompt=None)))
    assert float((on - off).detach().abs().max()) > 1e-3  # it takes part


def test_fewer_than_two_parts_are_refused_when_the_run_is_planned() -> None:
    for sizes in ({"rank": 0}, {"length": 0}, {"length": 0, "rank": 0, "deep": 3}):
        with pytest.raises(ValueError, match=r"^prompt: length, deep, rank: two of them must be above 0"):
            find_recipe("promot_joined")(RecipePlan("m", (TaskRef("t"),), {"prompt": sizes}))


def test_a_deep_prefix_for_an_encoder_is_refused() -> None:
    loaded = tiny.pretrained()
    loaded.model = prefix_tiny.tiny("T5")
    with pytest.raises(ValueError, match="a deep prefix is for models without an encoder; use a soft prompt"):
        PrefixTuning().prepare(Context(PrefixModel(loaded.model), loaded))

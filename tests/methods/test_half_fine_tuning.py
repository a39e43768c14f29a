"""HFT: exactly half of each block moves, the other half keeps its bits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from holdfast.methods.base import Method
from holdfast.methods.half_fine_tuning import HalfFineTuning
from holdfast.methods.l2_sp import L2Sp
from holdfast.methods.lora import Lora
from holdfast.prefix.model import PrefixModel
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.weights.layout import Layout, half_of_each_block
from tests.recipes.worlds import write_world
from tests.training import tiny


def changed(tmp_path: Path, method: HalfFineTuning, **settings: Any) -> set[str]:
    """The parameters of the transformers model that a short run moved."""
    run = tiny.trainer(tmp_path, method, **settings)
    start = tiny.weights(run)
    run.train()
    names = {name for name, weight in tiny.weights(run).items() if not torch.equal(weight, start[name])}
    return {name.removeprefix("model.") for name in names}


@pytest.mark.parametrize("seed", range(3))
def test_half_of_every_category_moves_even_under_weight_decay(tmp_path: Path, seed: int) -> None:
    moved = changed(tmp_path, HalfFineTuning(seed=seed), weight_decay=0.1)
    of_three = []
    for block in range(2):
        inside = [name for name in moved if name.startswith(f"model.layers.{block}.")]
        assert sum("self_attn" in name for name in inside) == 2
        assert sum("layernorm" in name for name in inside) == 1
        of_three.append(sum(".mlp." in name for name in inside))
    assert sorted(of_three) == [1, 2]
    assert {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} <= moved


class Snapshots(Method):
    """The weights after each step."""

    def __init__(self) -> None:
        self.after: list[dict[str, torch.Tensor]] = []

    def after_step(self, model: PrefixModel) -> None:
        self.after.append({name: p.detach().clone() for name, p in model.model.named_parameters()})


def test_by_epoch_each_pass_over_the_rows_moves_another_half(tmp_path: Path) -> None:
    """Eight rows in fours: two steps a pass. Momentum of the pass before, or decay, would move what this one freezes."""
    seen = Snapshots()
    run = tiny.trainer(tmp_path, HalfFineTuning(reselect="epoch"), seen, weight_decay=0.1)
    start = {name: p.detach().clone() for name, p in run.model.model.named_parameters()}
    run.train()
    states, still = [start, *seen.after], []
    for first in (0, 2, 4):
        spans = [(states[step], states[step + 1]) for step in (first, first + 1)]
        still.append({name for name in start if all(torch.equal(before[name], after[name]) for before, after in spans)})
    layout = Layout({name: tuple(weight.shape) for name, weight in start.items()})
    assert still[0] == half_of_each_block(layout, 0), "the first pass is that of `stage`"
    assert len({frozenset(names) for names in still}) == 3
    assert {len([n for n in names if "self_attn" in n]) for names in still} == {4}


def test_by_epoch_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert tiny.resumes(lambda folder, **s: tiny.trainer(folder, HalfFineTuning(reselect="epoch"), **s), tmp_path)


def test_what_moves_is_what_was_chosen_and_nothing_else(tmp_path: Path) -> None:
    method = HalfFineTuning(embeddings=False)
    run = tiny.trainer(tmp_path / "chosen", method)
    chosen = {id(weight) for group in method.parameters(run.model) for weight in group.parameters}
    names = {name for name, weight in run.model.model.named_parameters() if id(weight) in chosen}
    assert changed(tmp_path / "run", HalfFineTuning(embeddings=False)) == names
    assert all(name.startswith("model.layers.") for name in names)


def test_another_seed_draws_another_half_and_the_same_seed_the_same(tmp_path: Path) -> None:
    draws = [changed(tmp_path / str(i), HalfFineTuning(seed=seed)) for i, seed in enumerate((0, 0, 1))]
    assert draws[0] == draws[1] != draws[2]


def test_each_stage_of_a_sequence_takes_another_half(tmp_path: Path) -> None:
    """The paper draws anew in each round; by the seed of the run alone the same half would be frozen for all tasks."""
    world = write_world(tmp_path, one=None, two=None, three=None)
    plan = RecipePlan(str(world / "model"), tuple(TaskRef.read(str(world / name)) for name in ("one", "two", "three")))
    stages = find_recipe("full_sequential+half_fine_tuning")(plan)
    methods = [method for stage in stages if isinstance(stage, Train) for method in stage.methods]
    model = tiny.pretrained().model
    layout = Layout({name: tuple(weight.shape) for name, weight in model.named_parameters()})
    halves = {half_of_each_block(layout, method.seed) for method in methods if isinstance(method, HalfFineTuning)}
    assert len(methods) == len(halves) == 3
    assert methods[0] == HalfFineTuning()
    assert plan.resolved["model"]["seed"] == 0, "a run that is repeated by its configuration draws the same"


def test_beside_another_chooser_it_is_refused_and_beside_a_penalty_it_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="both choose which parameters move"):
        tiny.trainer(tmp_path / "two", HalfFineTuning(), Lora()).train()
    tiny.trainer(tmp_path / "beside", HalfFineTuning(), L2Sp()).train()


def test_a_model_without_blocks_is_refused(tmp_path: Path) -> None:
    run = tiny.trainer(tmp_path, HalfFineTuning())
    run.model.model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="no parameter's name shows a numbered block"):
        list(HalfFineTuning().parameters(run.model))

"""LISA: a few blocks move at a time, the others keep their bits, and the ends are full fine-tuning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.lisa import Lisa
from holdfast.prefix.model import PrefixModel
from holdfast.training.loop import Trainer
from holdfast.weights.layout import locate
from tests.training import tiny

Weights = dict[str, torch.Tensor]


class Snapshots(Method):
    """The weights after each step."""

    def __init__(self) -> None:
        self.after: list[Weights] = []

    def after_step(self, model: PrefixModel) -> None:
        self.after.append({name: p.detach().clone() for name, p in model.model.named_parameters()})


def moved(before: Weights, after: Weights) -> set[str]:
    """The names of the weights that are not the same bits."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def blocks(names: set[str]) -> set[int]:
    """The numbers of the blocks that these weights stand in."""
    return {inside[1] for inside in map(locate, names) if inside is not None}


def test_in_each_interval_only_the_drawn_block_moves_even_under_decay_and_momentum(tmp_path: Path) -> None:
    seen = Snapshots()
    # Twelve intervals of two steps: that one block of two is drawn in all of them has a chance of 1 in 2,048.
    run = tiny.trainer(tmp_path, Lisa(blocks=1, interval=2), seen, steps=24, weight_decay=0.1)
    start = {name: p.detach().clone() for name, p in run.model.model.named_parameters()}
    run.train()
    states = [start, *seen.after]
    each = [moved(states[step], states[step + 1]) for step in range(24)]
    drawn = [blocks(names) for names in each]
    assert all(len(numbers) == 1 for numbers in drawn)
    assert drawn[0::2] == drawn[1::2], "one draw for each interval"
    assert set().union(*drawn) == {0, 1}
    outside = {name for name in start if locate(name) is None}
    assert all(outside <= names for names in each), "embeddings, head and last norm train always"


def trained(run: Trainer) -> Weights:
    run.train()
    return tiny.weights(run)


def test_with_all_blocks_it_is_full_fine_tuning_to_the_bit(tmp_path: Path) -> None:
    ours = trained(tiny.trainer(tmp_path / "lisa", Lisa(blocks=2)))
    assert not moved(ours, trained(tiny.trainer(tmp_path / "full", Full())))


def test_another_seed_draws_other_blocks(tmp_path: Path) -> None:
    ends: list[Weights] = []
    for number, seed in enumerate((0, 0, 1)):
        ends.append(trained(tiny.trainer(tmp_path / str(number), Lisa(blocks=1, interval=1, seed=seed), steps=12)))
    assert not moved(ends[0], ends[1])
    assert moved(ends[0], ends[2])


def test_a_run_that_goes_on_within_an_interval_ends_with_the_same_weights(tmp_path: Path) -> None:
    def make(folder: Path, **settings: Any) -> Trainer:
        return tiny.trainer(folder, Lisa(blocks=1, interval=2), **settings)

    assert tiny.resumes(make, tmp_path)


def test_a_model_without_blocks_is_refused(tmp_path: Path) -> None:
    run = tiny.trainer(tmp_path, Lisa())
    run.model.model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="no parameter's name shows a numbered block"):
        list(Lisa().parameters(run.model))

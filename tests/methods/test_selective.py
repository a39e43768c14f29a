"""Methods that choose tensors: what must not move is bit-identical in spite of weight decay, has no optimizer state, and all else moves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from holdfast.methods.freeze_bottom import FreezeBottom
from holdfast.methods.full import Full
from holdfast.methods.half_fine_tuning import HalfFineTuning
from holdfast.methods.value_only import ValueOnly
from holdfast.prefix.model import PrefixModel
from holdfast.training.loop import Training
from tests.inference import small_models
from tests.training import tiny

DECAY: dict[str, Any] = {"weight_decay": 0.5}


def moved(folder: Path, method: Full, **options: bool) -> set[str]:
    """The names of the tensors that six steps with weight decay changed; optimizer states are checked to be theirs."""
    run = Training(tiny.trainer(folder, method, model=tiny.pretrained(**options), **DECAY))
    start = tiny.weights(run)
    run.run()
    end = tiny.weights(run)
    changed = {name for name, weight in start.items() if not torch.equal(weight, end[name])}
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    assert {names[id(parameter)] for parameter in run.optimizer.state} == changed
    return {name.removeprefix("model.") for name in changed}


def test_the_lowest_blocks_and_the_embeddings_stay_and_all_else_moves(tmp_path: Path) -> None:
    names = {name for name, _ in tiny.pretrained().model.named_parameters()}
    assert moved(tmp_path / "auto", FreezeBottom()) == {
        name for name in names if "layers.0." not in name and "embed_tokens" not in name
    }
    without = FreezeBottom(blocks=1, embeddings=False)
    assert moved(tmp_path / "words", without) == {name for name in names if "layers.0." not in name}


def test_a_head_that_is_the_embeddings_is_frozen_with_them(tmp_path: Path) -> None:
    changed = moved(tmp_path, FreezeBottom(), tie_word_embeddings=True)
    assert changed
    assert all(name.startswith(("model.layers.1.", "model.norm")) for name in changed)


def test_without_frozen_blocks_and_embeddings_it_is_full_fine_tuning_bit_by_bit(tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [FreezeBottom(blocks=0, embeddings=False)])


def test_position_embeddings_are_embeddings() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2, n_positions=16))
    chosen = {id(weight) for group in FreezeBottom().parameters(PrefixModel(model)) for weight in group.parameters}
    names = {name for name, weight in model.named_parameters() if id(weight) in chosen}
    assert {"transformer.ln_f.weight", "transformer.h.1.attn.c_attn.weight"} <= names
    assert not {name for name in names if "wpe" in name or "wte" in name or ".h.0." in name}


def test_too_many_blocks_are_refused_with_the_most_there_may_be() -> None:
    with pytest.raises(ValueError, match=r"freeze_bottom.blocks=2: model.layers has 2 blocks.*give 1 or fewer"):
        list(FreezeBottom(blocks=2).parameters(PrefixModel(tiny.pretrained().model)))
    with pytest.raises(ValueError, match="no parameter's name shows a numbered block"):
        list(FreezeBottom().parameters(PrefixModel(nn.Linear(2, 2))))


def test_the_value_projections_move_and_nothing_else(tmp_path: Path) -> None:
    assert moved(tmp_path, ValueOnly()) == {f"model.layers.{i}.self_attn.v_proj.weight" for i in range(2)}


def test_an_encoder_and_a_decoder_move_the_values_of_their_three_kinds_of_attention() -> None:
    model = small_models.t5()
    chosen = {id(weight) for group in ValueOnly().parameters(PrefixModel(model)) for weight in group.parameters}
    parents = {name.split(".layer.")[1] for name, weight in model.named_parameters() if id(weight) in chosen}
    assert parents == {"0.SelfAttention.v.weight", "1.EncDecAttention.v.weight"}
    assert len(chosen) == 3 * model.config.num_layers


def test_a_fused_projection_is_refused() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=16))
    with pytest.raises(ValueError, match="no value projection of its own"):
        list(ValueOnly().parameters(PrefixModel(model)))


@pytest.mark.parametrize("method", [FreezeBottom(), ValueOnly(), HalfFineTuning()], ids=lambda m: type(m).__name__)
def test_a_resumed_run_ends_with_the_same_weights(method: Full, tmp_path: Path) -> None:
    assert tiny.resumes(lambda folder, **settings: tiny.trainer(folder, method, **DECAY, **settings), tmp_path)

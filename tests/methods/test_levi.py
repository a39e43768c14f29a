"""LEVI: the sum over its taps by hand, a model that stays what it was, and a network that is read again as it was trained."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel

from holdfast.api.load import load
from holdfast.api.tune import tune
from holdfast.methods.base import Context
from holdfast.methods.combinations import check_combination
from holdfast.methods.dpo import Dpo
from holdfast.methods.levi import Levi, mean_loss
from holdfast.methods.token_weights import TokenWeights
from holdfast.models import resolve, side_network
from holdfast.models.attention_heads import projections
from holdfast.models.final_norm import final_norm
from holdfast.models.side_network import SideNetwork, SideShape
from holdfast.prefix.cache import shares
from holdfast.prefix.capability import by_path, capability_now
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.deep_prefix import of_words
from tests.recipes.worlds import write_world
from tests.training import tiny

SHAPE = SideShape(taps=2, heads=1, adapter=8, answer="last")
TOKENS = torch.tensor([[1, 9, 4, 30, 7]])


def attached(model: Any, shape: SideShape = SHAPE) -> SideNetwork:
    """A network away from its start, at which it would change nothing."""
    torch.manual_seed(1)
    network = side_network.build(model, shape).eval()
    with torch.no_grad():
        for layer in network.up:
            layer.weight.normal_(0, 0.3)  # pyright: ignore[reportCallIssue]
    return network


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS, use_cache=False).logits


def by_hand(model: Any, network: SideNetwork) -> list[torch.Tensor]:
    """The logits of each tap, from the model's states and the small blocks, called one by one."""
    inner = model.model
    with torch.no_grad():
        states = [inner.embed_tokens(TOKENS)]
        positions = torch.arange(TOKENS.shape[1])[None]
        side, turned = network.read(F.rms_norm(states[0], (32,))), inner.rotary_emb(states[0], positions)
        taps = []
        for number, block in enumerate(inner.layers):
            forward, small = type(block).forward, network.layers[number]
            states.append(forward(block, states[-1], position_ids=positions, position_embeddings=turned))
            side = forward(small, side, position_ids=positions, position_embeddings=turned)
            joint = torch.cat([F.rms_norm(states[-1], (32,)), F.rms_norm(side, (8,))], -1)
            z = states[-1] + network.up[number](F.gelu(network.down[number](joint)))
            taps.append(model.lm_head(type(inner.norm).forward(inner.norm, z)))
    return taps


def test_each_tap_reads_both_states_through_the_models_own_head() -> None:
    """Two taps at the two blocks of the tiny model; float32 noise is 1e-5, and a tap without its side is off by 0.1 and more."""
    model = tiny.pretrained().model
    network = attached(model)
    first, last = by_hand(model, network)
    torch.testing.assert_close(logits(model), last, rtol=0, atol=1e-4)
    network.tap = 0
    torch.testing.assert_close(logits(model), first, rtol=0, atol=1e-4)
    network.tap, network.shape = None, replace(SHAPE, answer="mean")
    torch.testing.assert_close(logits(model), (first + last) / 2, rtol=0, atol=1e-4)
    network.train()
    torch.testing.assert_close(logits(model), last, rtol=0, atol=1e-4)
    network.eval()
    with torch.no_grad():
        network.read.weight.zero_()
    assert (logits(model) - (first + last) / 2).abs().max() > 0.01, "without its input the side says something else"


def test_the_loss_is_the_sum_over_the_taps() -> None:
    pretrained, rows = tiny.pretrained(), tiny.rows(4)
    model = PrefixModel(pretrained.model)
    plain = float(mean_loss(model(rows)).detach())
    method = Levi(taps=2, heads=1, adapter=8)
    method.prepare(Context(model, pretrained, rows))
    model.requires_grad_(False)
    (group,) = method.parameters(model)
    for parameter in group.parameters:
        parameter.requires_grad_(True)
    model.train()
    output = model(rows)
    extra = method.penalty(model, rows, output)
    assert extra is not None
    assert float(mean_loss(output).detach()) == pytest.approx(plain, rel=1e-5), "at the start the last tap is the model"
    method._network.tap = 0
    lens = float(mean_loss(model(rows)).detach())
    method._network.tap = None
    assert float(extra.detach()) == pytest.approx(lens, rel=1e-6)
    assert abs(lens - plain) > 0.01
    (mean_loss(output) + extra).backward()
    moved = {name.partition(".")[0] for name, value in model.model.named_parameters() if value.grad is not None}
    assert moved == {side_network.NAME}, "nothing of the model has a gradient"
    method.taps = 1
    assert method.penalty(model, rows, output) is None


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_rows_side_by_side_and_behind_a_cache_are_computed_as_alone(kind: str) -> None:
    small = {"vocab_size": 40, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "gpt2":
        model: Any = GPT2LMHeadModel(GPT2Config(n_positions=64, n_embd=32, n_layer=3, n_head=4, **small)).eval()
    elif kind == "gemma3":
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
        config = Gemma3TextConfig(num_key_value_heads=2, head_dim=8, sliding_window=16, **sizes, **small)
        model = Gemma3ForCausalLM(config).eval()
    else:
        model = tiny.pretrained().model
    before = logits(model)
    network = attached(model)
    assert (logits(model) - before).abs().max() > 0.01
    assert capability_now(model).packed
    assert shares(model)
    assert by_path(model)
    # transformers makes a cache for the model's own layers.
    written = model.generate(TOKENS, max_new_tokens=3, do_sample=False, pad_token_id=0, eos_token_id=None)
    again = TOKENS
    for _ in range(3):
        with torch.no_grad():
            again = torch.cat([again, model(again, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    assert written.tolist() == again.tolist()
    with torch.no_grad():
        states = torch.randn(3, 32)
        alone = final_norm(model)(states)
    with pytest.raises(ValueError, match="levi: a side network stands beside this model already"):
        side_network.build(model, SHAPE)
    assert len(projections(model)) == model.config.num_hidden_layers, "its heads are none of the model's"
    network.detach()
    assert torch.equal(final_norm(model)(states), alone), "the norm by itself gives what it always gives"
    assert torch.equal(logits(model), before), "without the network the model is bit by bit what it was"


@pytest.mark.parametrize("recipe", ["levi", "promot+levi", "fticl+levi"])
def test_a_run_leaves_a_network_that_is_loaded_again(tmp_path: Path, recipe: str) -> None:
    world = write_world(tmp_path / "world", goal=["w3", "w4"], other=None)
    small = {"steps": 2, "save_every": 2, "validation_limit": 0, "learning_rate": 1e-2}
    fields = {f"model.{name}": value for name, value in small.items()}
    fields |= {"model.taps": 2, "model.heads": 1, "model.adapter": 8, "model.answer": "mean"}
    if recipe == "promot+levi":
        fields |= {f"prompt.{name}": value for name, value in small.items()} | {"prompt.length": 2}
    options: dict[str, Any] = {"shots": (0,), "limit": 2, "out": tmp_path / "run", **fields}
    run = tune(str(world / "model"), str(world / "goal"), recipe, str(world / "other"), **options)
    folder = run.folder / "adapter"
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LEVI"
    assert not (run.folder / "model").exists()
    tuned = load(str(run.folder), prompt="off" if recipe == "promot+levi" else None)
    read, base = load(str(folder)), load(str(world / "model"))
    asked = [("w5 w9 w8", " w7")]
    values = [model.loglikelihood(asked)[0].value for model in (tuned, read, base)]
    assert values[0] == values[1] != values[2]
    assert "holdfast.load" in (run.folder / "README.md").read_text()
    with pytest.raises(ValueError, match=r"a side network .* so there is no plain model"):
        resolve.merged(str(folder))
    with pytest.raises(ValueError, match=r"a side network .* no plain model to train"):
        tune(str(folder), str(world / "goal"), "full", "none", shots=(0,), limit=2, out=tmp_path / "again")
    prompt = {f"prompt.{name}": value for name, value in small.items()} | {"prompt.length": 2}
    front = {"shots": (0,), "limit": 2, "out": tmp_path / "front", **prompt}
    kept = tune(str(folder), str(world / "goal"), "prompt_tuning", "none", **front)
    assert load(str(kept.folder), prompt="off").loglikelihood(asked)[0].value == values[0], "a prompt moves no network"
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"adapter": 9}))
    with pytest.raises(ValueError, match="adapter: belongs to another model"):
        load(str(folder))


def test_a_copy_of_the_model_has_a_network_of_its_own() -> None:
    """Methods that keep a copy of the start (kl_base) keep it: what trains is not read by the copy."""
    model = tiny.pretrained().model
    network = attached(model)
    before, kept = logits(model), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)
    assert (logits(model) - before).abs().max() > 0.01
    assert torch.equal(logits(kept), before)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="levi makes no sense beside dpo: each of its taps is trained by the token loss"
    ):
        check_combination([Levi(), Dpo()])
    with pytest.raises(ValueError, match=r"token_weights: the other's factors .* would reach the last tap alone"):
        check_combination([Levi(), TokenWeights()])
    with pytest.raises(ValueError, match=r"levi\.taps=3: the model has 2 blocks; take fewer"):
        tiny.trainer(tmp_path, Levi()).train()
    pretrained = tiny.pretrained()
    deep = PrefixModel(pretrained.model, [of_words(pretrained.model, [5, 6])])
    with pytest.raises(ValueError, match="levi: a deep prefix has no keys"):
        Levi(taps=2).prepare(Context(deep, pretrained, tiny.rows(2)))
    with pytest.raises(ValueError, match="gradient_checkpointing: blocks beside the model"):
        tiny.trainer(tmp_path / "twice", Levi(taps=2), gradient_checkpointing=True).train()

"""LoFiT: heads are chosen by their scales, only their vectors train, and the biases that they become compute the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import holdfast
from holdfast.methods._attention_heads import can_have_bias
from holdfast.methods.base import Context
from holdfast.methods.head_bias import SHIFT, HeadBias
from holdfast.methods.head_scale import SCALE, HeadScale
from holdfast.methods.kl_base import KlBase
from holdfast.models.attention_heads import projections
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.training.loop import Trainer
from tests.recipes.worlds import write_world
from tests.training import tiny

NOISE = 2e-5  # float32 noise of logits of about 10; a head that is folded into another's columns moves them by 0.01 and more
HEADS = {
    "model.layers.0.self_attn.o_proj": [0.1, 0.4, 0.2, 0.0],
    "model.layers.1.self_attn.o_proj": [0.3, 0.0, 0.0, 0.1],
}


def logits(model: PrefixModel, rows: list[Row]) -> torch.Tensor:
    with torch.no_grad():
        return model(rows).logits


def measured(folder: Path, norms: dict[str, list[float]] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.tensor(values) for name, values in (norms or HEADS).items()}, folder / "heads.safetensors")
    return folder


def biased(folder: Path, heads: Path, *methods: Any, steps: int = 4, **fields: Any) -> Trainer:
    run = tiny.trainer(folder, HeadBias(**fields), *methods, steps=steps)
    run.inputs = [{"heads": heads}, *({} for _ in methods)]
    run.train()
    return run


def chosen(run: Trainer) -> list[list[int]]:
    """The heads that have vectors, of each projection that has any."""
    known: list[Any] = list(projections(run.model.model).values())
    return [projection.head_chosen.tolist() for projection in known if hasattr(projection, "head_chosen")]


def test_the_scales_alone_move_and_their_norms_are_left(tmp_path: Path) -> None:
    base = dict(tiny.pretrained().model.named_parameters())
    method = HeadScale(l1=0.01)
    run = tiny.trainer(tmp_path, method, steps=4)
    run.train()
    after = dict(run.model.model.named_parameters())
    assert all(torch.equal(weight, after[name]) for name, weight in base.items())
    assert after.keys() - base.keys() == {f"{name}.{SCALE}" for name in HEADS}
    rows = tiny.rows()
    trained = logits(run.model, rows)
    method.export(run.model, run.pretrained, tmp_path)
    norms = load_file(tmp_path / "heads.safetensors")
    for name in HEADS:
        expected = after[f"{name}.{SCALE}"].detach().view(4, 8).norm(dim=1)
        assert torch.equal(norms[name], expected)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert (logits(PrefixModel(plain), rows) - trained).abs().max() < NOISE
    moved = {name for name, weight in base.items() if not torch.equal(weight, plain.get_parameter(name))}
    assert moved == {f"{name}.weight" for name in HEADS}


def test_a_scale_of_one_and_vectors_of_zero_change_no_bit(tmp_path: Path) -> None:
    rows, plain = tiny.rows(), tiny.pretrained()
    before = logits(PrefixModel(plain.model), rows)
    for method, inputs in ((HeadScale(init_std=0), {}), (HeadBias(init_std=0), {"heads": measured(tmp_path)})):
        loaded = tiny.pretrained()
        model = PrefixModel(loaded.model)
        method.prepare(Context(model, loaded, inputs=inputs))
        assert torch.equal(logits(model, rows), before)


def test_the_penalty_is_l1_times_the_sum_of_the_scales(tmp_path: Path) -> None:
    losses = []
    for l1 in (0.0, 0.5):
        run = tiny.trainer(tmp_path / str(l1), HeadScale(l1=l1, init_std=0.1), steps=1)
        run.train()
        losses += tiny.losses(run.folder)
    start = torch.randn(32, generator=(draw := torch.Generator().manual_seed(0))), torch.randn(32, generator=draw)
    expected = 0.5 * 0.1 * sum(float(part.abs().sum()) for part in start)
    assert losses[1] - losses[0] == pytest.approx(expected, rel=1e-4)


def test_the_strongest_heads_get_vectors_and_nothing_else_moves(tmp_path: Path) -> None:
    base = dict(tiny.pretrained().model.named_parameters())
    run = biased(tmp_path / "run", measured(tmp_path / "heads"), share=0.25)
    shifts = {n: p for n, p in run.model.model.named_parameters() if n.endswith(SHIFT)}
    assert {name: tuple(shift.shape) for name, shift in shifts.items()} == {f"{name}.{SHIFT}": (1, 8) for name in HEADS}
    assert chosen(run) == [[1], [0]]
    after = dict(run.model.model.named_parameters())
    assert all(torch.equal(weight, after[name]) for name, weight in base.items())
    random = biased(tmp_path / "random", tmp_path / "heads", share=0.5, choose="random", seed=3)
    assert sum(map(len, chosen(random))) == 4
    assert chosen(random) != [[1, 2], [0, 3]]


def test_the_export_is_a_plain_model_that_computes_the_same(tmp_path: Path) -> None:
    rows = tiny.rows()
    run = biased(tmp_path / "run", measured(tmp_path / "heads"), KlBase(strength=0.1), share=0.5)
    trained = logits(run.model, rows)
    assert (trained - logits(PrefixModel(tiny.pretrained().model), rows)).abs().max() > 0.05
    run.methods[0].export(run.model, run.pretrained, tmp_path)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert (logits(PrefixModel(plain), rows) - trained).abs().max() < NOISE
    assert (logits(PrefixModel(run.pretrained.model), rows) - trained).abs().max() < NOISE
    base = dict(tiny.pretrained().model.named_parameters())
    added = {name: weight for name, weight in plain.named_parameters() if name not in base}
    assert all(torch.equal(weight, plain.get_parameter(name)) for name, weight in base.items())
    assert {name for name, bias in added.items() if bias.any()} == {f"{name}.bias" for name in HEADS}
    assert not any(name.endswith((SHIFT, "head_chosen")) for name in plain.state_dict())


def other_models() -> list[Any]:
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 40}
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 1}
    gemma = Gemma3TextConfig(**sizes, **heads, head_dim=8, max_position_embeddings=64, initializer_range=0.2)
    gpt = GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2)
    return [Gemma3ForCausalLM(gemma).eval(), GPT2LMHeadModel(gpt).eval()]


@pytest.mark.parametrize("index", [0, 1], ids=["gemma3", "gpt2"])
def test_other_architectures_fold_as_well(index: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = other_models()[index]
    loaded = Pretrained(model, tiny.pretrained().tokenizer, "m", "0")
    names = list(projections(model))
    heads = measured(tmp_path / "heads", {name: [0.1, 0.2, 0.3, 0.4] for name in names})
    wrapped, method = PrefixModel(model), HeadBias(share=0.5, init_std=0.5)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    method.prepare(Context(wrapped, loaded, inputs={"heads": heads}))
    rows = tiny.rows()
    trained = logits(wrapped, rows)
    method.export(wrapped, loaded, tmp_path)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert (logits(PrefixModel(plain), rows) - trained).abs().max() < NOISE
    moved = {n for n, w in before.items() if not torch.equal(w, plain.get_parameter(n))}
    assert moved <= {f"{name}.bias" for name in names}


def test_a_model_without_a_place_for_the_biases_is_refused() -> None:
    config = Qwen2Config(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = Qwen2ForCausalLM(config)
    assert not can_have_bias(model)
    loaded = Pretrained(model, tiny.pretrained().tokenizer, "m", "0")
    with pytest.raises(ValueError, match="Qwen2ForCausalLM has no output bias that the vectors could fold into"):
        HeadBias().prepare(Context(PrefixModel(model), loaded))
    with pytest.raises(ValueError, match="use --method lofit"):
        HeadBias().prepare(Context(PrefixModel(tiny.pretrained().model), tiny.pretrained()))


@pytest.mark.parametrize("method", ["scale", "bias"])
def test_a_resumed_run_ends_with_the_same_bits(method: str, tmp_path: Path) -> None:
    heads = measured(tmp_path / "heads")

    def make(folder: Path, **settings: Any) -> Trainer:
        run = tiny.trainer(folder, HeadScale() if method == "scale" else HeadBias(share=0.5), **settings)
        run.inputs = [{"heads": heads} if method == "bias" else {}]
        return run

    assert tiny.resumes(make, tmp_path)


def test_a_run_of_promot_and_lofit_leaves_a_model_with_few_biases(tmp_path: Path) -> None:
    world = write_world(tmp_path, copy=None)
    fields: dict[str, Any] = {f"{stage}.steps": 3 for stage in ("prompt", "heads", "model")} | {"prompt.length": 2}
    run = holdfast.tune(
        world / "model", world / "copy", "promot_lofit", shots=(0,), limit=4, out=tmp_path / "run", **fields,
        **{"model.share": 0.25, "model.curve": 2},
    )  # fmt: skip
    assert json.loads((run.folder / "model" / "config.json").read_text())["attention_bias"] is True
    assert {(s.variant, s.prompt) for s in run.scores} >= {("tuned", "on"), ("tuned", "off"), ("base", None)}

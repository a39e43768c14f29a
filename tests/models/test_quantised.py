"""Models whose linear layers are held in 8 or 4 bits, by bitsandbytes on a processor: asked, packed, trained over, and refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MixtralConfig

from holdfast.api.tune import tune
from holdfast.models import loading, merging, resolve
from holdfast.models.loading import Pretrained
from holdfast.models.precision import Loading, checkpoint_dtype
from holdfast.prefix.cache import shares
from holdfast.prefix.capability import capability

pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
TOKENS = torch.tensor([list(range(5, 37))])


@pytest.fixture(scope="module")
def exact() -> Pretrained:
    return resolve.load("lab", loading=Loading("fp32", "cpu"))


@pytest.mark.parametrize(("dtype", "noise", "size"), [("bf16", 0.05, 0.55), ("int8", 0.1, 0.35), ("int4", 0.4, 0.25)])
def test_the_lab_model_answers_alike_in_fewer_bits(exact: Pretrained, dtype: str, noise: float, size: float) -> None:
    """Seen: 0.016, 0.022 and 0.16 of the logits' spread. Weights that are read in another order or scale make about 1.4."""
    low = resolve.load("lab", loading=Loading(dtype, "cpu"))
    with torch.no_grad():
        expected, logits = (model(TOKENS).logits.float() for model in (exact.model, low.model))
    assert float((logits - expected).pow(2).mean().sqrt() / expected.std()) < noise
    held, whole = (sum(p.numel() * p.element_size() for p in m.parameters()) for m in (low.model, exact.model))
    assert held < size * whole


@pytest.mark.parametrize("dtype", ["bf16", "int8", "int4"])
def test_the_prefix_core_packs_in_every_precision(dtype: str) -> None:
    """In 8 bits a row differs by 0.01 of the spread with what stands beside it; taken for a wrong mask, everything would go one by one."""
    model = resolve.load("lab", loading=Loading(dtype, "cpu")).model
    assert capability(model).packed
    assert capability(model, deep=True).packed
    assert shares(model)


@pytest.mark.parametrize(
    ("dtype", "method"), [("int8", "prompt_tuning"), ("int4", "lora_absorber"), ("int4", "promot_lora")]
)
def test_prompts_and_loras_train_over_quantised_weights(tmp_path: Path, dtype: str, method: str) -> None:
    settings: dict[str, Any] = {"prompt.steps": 8, "prompt.learning_rate": 0.03, "prompt.validation_limit": 0}
    settings |= {"model.steps": 4, "model.validation_limit": 0} if method == "promot_lora" else {}
    out = tmp_path / "run"
    tune(
        "lab",
        "lab:elicit-sentiment",
        method,
        "lab:kind",
        shots=(0,),
        limit=10,
        out=out,
        dtype=dtype,
        device="cpu",
        **settings,
    )
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["stage"] == "prompt" and "loss" in record]
    assert losses[-1] < losses[0] - 0.1
    assert {t.dtype for t in load_file(out / "prompt" / "adapter_model.safetensors").values()} == {torch.float32}
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert {score["dtype"] for score in scores} == {dtype}
    if method != "promot_lora":
        return
    # The merged model is the checkpoint's own weights and the LoRA, in the checkpoint's precision.
    assert checkpoint_dtype(out / "model") == "fp32"
    whole = resolve.load("lab", loading=Loading("fp32", "cpu"))
    merging.merge(whole, out / "adapter")
    written = load_file(out / "model" / "model.safetensors")
    for name, weight in whole.model.state_dict().items():
        if name in written:
            torch.testing.assert_close(written[name], weight, atol=1e-6, rtol=0)


def test_a_model_of_other_layers_is_refused_by_its_configuration(tmp_path: Path) -> None:
    """The experts of a mixture are one tensor of three dimensions, which would stay as it is. No weight is read: there is none."""
    config = MixtralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    with torch.device("meta"):
        AutoModelForCausalLM.from_config(config)
    config.save_pretrained(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="dtype=int4 would quantise less than half of its weights"):
        loading.load(tmp_path, Loading("int4", "cpu"))

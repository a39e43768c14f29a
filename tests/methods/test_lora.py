"""LoRA adapts the modules that its setting names, all of them, and what it leaves is what it trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors import safe_open

import holdfast
from holdfast.methods.base import Context
from holdfast.methods.lora import Lora
from holdfast.models import loading
from holdfast.models.precision import Loading
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.load import load
from holdfast.row import Row
from tests.recipes.worlds import write_world
from tests.training import tiny

TOKENS = (1, 5, 6, 7, 8, 9)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), echo=None)


@pytest.mark.parametrize("target", ["q_proj,v_proj", "q_proj, v_proj", " q_proj ,v_proj, "])
def test_every_named_module_is_adapted(world: Path, tmp_path: Path, target: str) -> None:
    """The bug: after `q_proj, ` the name ` v_proj`, with its space, fitted no module, and PEFT passed over it."""
    fields: dict[str, Any] = {"model.target": target, "model.steps": 1}
    run = holdfast.tune(world / "model", world / "echo", "lora", shots=(0,), out=tmp_path / "run", **fields)
    with safe_open(run.folder / "adapter" / "adapter_model.safetensors", "pt") as file:
        adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in file.keys()}  # noqa: SIM118, no mapping
    assert adapted == {"q_proj", "v_proj"}
    assert sorted(json.loads((run.folder / "adapter" / "adapter_config.json").read_text())["target_modules"]) == [
        "q_proj",
        "v_proj",
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("q_proj,v_prj", "unknown module in `target` 'v_prj'; did you mean 'v_proj'"),
        ("self_attn", "unknown module in `target` 'self_attn'; "),
        (" , ", "names no module"),
    ],
)
def test_a_module_that_the_model_does_not_have_is_refused(
    world: Path, tmp_path: Path, target: str, message: str
) -> None:
    fields: dict[str, Any] = {"model.target": target}
    with pytest.raises(ValueError, match=message):
        holdfast.tune(world / "model", world / "echo", "lora", shots=(0,), out=tmp_path, **fields)


@pytest.mark.parametrize("init", ["default", "gaussian", "pissa", "olora"])
def test_adapter_and_model_on_the_disk_are_what_was_trained(init: Any, tmp_path: Path) -> None:
    """The bug: an adapter that holds A and B as trained is that of weights from which the start was taken out, off by 3 on the base."""
    base = tiny.pretrained()
    loading.save(base, tmp_path / "base")
    method = Lora(init=init, rank=4)
    run = tiny.trainer(tmp_path / "run", method, model=base)
    run.train()
    row = Row(TOKENS, (0.0,) * 5 + (1.0,), name="row")
    with torch.no_grad():
        trained = run.model([row]).logits
        method.export(run.model, run.pretrained, tmp_path)
        untouched, merged = (loading.load(tmp_path / part).model for part in ("base", "model"))
        start = PrefixModel(untouched)([row]).logits
        attached = PrefixModel(untouched, [load(tmp_path / "adapter")])([replace(row, prompt=0)]).logits
        # PEFT puts its layers into the model: last.
        by_peft = peft.PeftModel.from_pretrained(untouched, tmp_path / "adapter")(torch.tensor([TOKENS])).logits[
            0, -2:-1
        ]
    assert float((trained - start).abs().max()) > 0.5
    for name, logits in (
        ("merged", PrefixModel(merged)([row]).logits.detach()),
        ("ours", attached),
        ("PEFT's", by_peft),
    ):
        # Sums in another order differ by 1e-5 in logits of size 10.
        assert float((logits - trained).abs().max()) < 1e-3, name


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_initial_values_taken_from_the_weights_change_nothing_before_training_and_resume(
    init: Any, tmp_path: Path
) -> None:
    untouched, loaded = tiny.pretrained().model(torch.tensor([TOKENS])).logits, tiny.pretrained()
    Lora(init=init, rank=4).prepare(Context(PrefixModel(loaded.model), loaded))
    assert float((loaded.model(torch.tensor([TOKENS])).logits - untouched).detach().abs().max()) < 1e-3
    assert tiny.resumes(lambda folder, **settings: tiny.trainer(folder, Lora(init=init, rank=4), **settings), tmp_path)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "q_proj,lm_head"])
def test_a_weight_that_two_modules_share_is_refused_and_an_unshared_one_is_adapted(target: str) -> None:
    """The bug: merging added the update of the head to the embeddings, and the model was off by 3 and more."""
    tied, untied = tiny.pretrained(tie_word_embeddings=True), tiny.pretrained()
    with pytest.raises(ValueError, match=rf"target='{target}': .*(lm_head|embed_tokens) has its weight in common"):
        Lora(target=target).prepare(Context(PrefixModel(tied.model), tied))
    Lora(target=target).prepare(Context(PrefixModel(untied.model), untied))


def test_a_start_that_the_weights_do_not_have_is_refused() -> None:
    loaded = tiny.pretrained()
    with pytest.raises(
        ValueError, match=r"rank=17: model.layers.0.self_attn.k_proj is 16 x 32 and has no part of that rank"
    ):
        Lora(init="pissa", rank=17).prepare(Context(PrefixModel(loaded.model), loaded))
    loaded.loading = Loading("int4", "cpu")
    with pytest.raises(ValueError, match=r"dtype=int4: lora.init=olora splits the model's own weights"):
        Lora(init="olora").prepare(Context(PrefixModel(loaded.model), loaded))

"""OSF: the largest singular directions compute the same after training, the start is the model, and PEFT's steps are ours."""

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from holdfast.methods.base import Context
from holdfast.methods.kl_base import KlBase
from holdfast.methods.osf import Osf
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from tests.training import tiny

NOISE = 2e-5  # float32 noise of logits of about 10; training moves them by more than 0.01


def logits(model: PrefixModel, rows: list[Row]) -> torch.Tensor:
    with torch.no_grad():
        return model(rows).logits


def trained(folder: Path, *others: Any, **settings: Any) -> Any:
    run = tiny.trainer(folder, Osf(), *others, **{"steps": 5, **settings})
    run.train()
    return run


def test_what_the_held_directions_compute_is_the_same_after_training(tmp_path: Path) -> None:
    """Under Adam, whose step leaves the subspace of its gradient: without the projection after it 0.02 is moved."""
    base, rows = tiny.pretrained().model, tiny.rows()
    before = logits(PrefixModel(base), rows)
    run = trained(tmp_path)
    after = logits(run.model, rows)
    assert (after - before).abs().max() > 0.01
    run.methods[0].export(run.model, run.pretrained, tmp_path)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert (logits(PrefixModel(plain), rows) - after).abs().max() < NOISE
    for name, start in base.named_parameters():
        weight, tuned = start.detach(), plain.get_parameter(name).detach()
        if not name.endswith("_proj.weight"):
            assert torch.equal(weight, tuned), name
            continue
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        kept = int(min(weight.shape) * 0.5)
        change, scale = tuned - weight, float(values[0])
        assert change.abs().max() > 1e-3  # it moved
        # 2e-6 of the largest singular value: float32 products; a step that is not projected moves 1e-2.
        assert (left[:, :kept].T @ change).abs().max() < 2e-6 * scale, name
        assert (change @ right[:kept].T).abs().max() < 2e-6 * scale, name


def test_the_start_is_the_model_and_without_a_step_the_export_is_its_bits(tmp_path: Path) -> None:
    rows, loaded = tiny.rows(), tiny.pretrained()
    before = logits(PrefixModel(loaded.model), rows)
    model, method = PrefixModel(loaded.model), Osf(keep=0.25)
    method.prepare(Context(model, loaded))
    assert (logits(model, rows) - before).abs().max() < NOISE
    method.export(model, loaded, tmp_path)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert all(torch.equal(w, plain.get_parameter(n)) for n, w in tiny.pretrained().model.named_parameters())


def test_under_sgd_it_is_peft_step_by_step() -> None:
    """There the step is along the gradient, so that the second projection has nothing to do."""
    rows = tiny.rows(4)
    loaded = tiny.pretrained()
    model, method = PrefixModel(loaded.model), Osf()
    method.prepare(Context(model, loaded))
    (group,) = method.parameters(model)
    reference = tiny.pretrained().model
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        wrapped: Any = peft.get_peft_model(
            reference, peft.OSFConfig(effective_rank=0.5, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    theirs = [p for n, p in wrapped.named_parameters() if "osf_svd_params" in n]
    optimizers = [torch.optim.SGD(parameters, lr=0.1) for parameters in (list(group.parameters), theirs)]
    for _ in range(3):
        for wanted, optimizer in zip((model, PrefixModel(reference)), optimizers, strict=True):
            output = wanted(rows)
            torch.nn.functional.cross_entropy(output.logits, output.labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        method.after_step(model)
    assert (logits(model, rows) - logits(PrefixModel(reference), rows)).abs().max() < NOISE
    assert (logits(model, rows) - logits(PrefixModel(tiny.pretrained().model), rows)).abs().max() > 0.01


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = tiny.weights(trained(tmp_path / "whole", steps=6))
    trained(tmp_path / "half", steps=3)
    resumed = tiny.weights(trained(tmp_path / "half", steps=6))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_it_trains_beside_a_penalty(tmp_path: Path) -> None:
    trained(tmp_path, KlBase(strength=0.5), steps=2)
    assert len(tiny.losses(tmp_path)) == 2


def test_what_cannot_be_decomposed_is_refused() -> None:
    loaded = tiny.pretrained()
    with pytest.raises(ValueError, match=r"keep=0.01: holds none of the 32 directions"):
        Osf(keep=0.01).prepare(Context(PrefixModel(loaded.model), loaded))
    with pytest.raises(ValueError, match="lm_head is the head"):
        Osf(target="lm_head").prepare(Context(PrefixModel(loaded.model), loaded))
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=32, n_layer=1, n_head=4, n_positions=64))
    with pytest.raises(ValueError, match="no linear layers that PEFT could decompose"):
        Osf().prepare(Context(PrefixModel(gpt), Pretrained(gpt, loaded.tokenizer, "m", "0")))

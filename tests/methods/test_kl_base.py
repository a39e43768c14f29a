"""KL to the base: the divergence by hand, its gradient, that it is off when off, and that it holds predictions."""

import math
from pathlib import Path

import pytest
import torch

from holdfast.methods.full import Full
from holdfast.methods.kl_base import KlBase, divergence
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.training.loop import Trainer
from tests.training import tiny


def test_the_divergence_by_hand() -> None:
    """Base (1/2, 1/2) against (1/4, 3/4): ln(2)/2 + ln(2/3)/2. The second place, equal, weighs three times as much."""
    base = torch.tensor([[0.5, 0.5], [0.2, 0.8]], dtype=torch.float64).log()
    found = torch.tensor([[0.25, 0.75], [0.2, 0.8]], dtype=torch.float64).log()
    expected = (math.log(2) / 2 + math.log(2 / 3) / 2) / 4
    # 1e-12: rounding of float64; the divergence the other way round is 0.131 / 4, not 0.144 / 4.
    assert float(divergence(base, found, torch.tensor([1.0, 3.0]))) == pytest.approx(expected, abs=1e-12)


def test_its_gradient_is_right() -> None:
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(4, 5, generator=draw, dtype=torch.float64)
    logits = torch.randn(4, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: divergence(base, x, weights), (logits,))


def test_before_the_first_step_the_penalty_is_zero_and_has_no_gradient(tmp_path: Path) -> None:
    method = KlBase(strength=1.0)
    run = tiny.trainer(tmp_path, Full(), method)
    run._set_up()
    rows = tiny.rows(3)
    value = method.penalty(run.model, rows, run.model(rows))
    assert value is not None
    # 1e-6: rounding of float32 sums over 40 words. After one step the penalty is 0.35 and its gradient 0.27.
    assert abs(float(value.detach())) < 1e-6
    value.backward()
    assert max(float(p.grad.abs().max()) for p in run.model.parameters() if p.grad is not None) < 1e-5


def test_strength_zero_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    plain, off = tiny.trainer(tmp_path / "plain", Full()), tiny.trainer(tmp_path / "off", Full(), KlBase(strength=0))
    plain.train()
    off.train()
    assert tiny.losses(tmp_path / "plain") == tiny.losses(tmp_path / "off")
    other = tiny.weights(off)
    assert all(torch.equal(weight, other[name]) for name, weight in tiny.weights(plain).items())


def moved(run: Trainer) -> float:
    """How far a trained model's predictions are from those of the model it started as."""
    start = tiny.trainer(run.folder / "start")
    rows = tiny.rows(8)
    with torch.no_grad():
        before, after = start.model(rows), run.model(rows)
    return float(divergence(before.logits, after.logits, after.weights))


def test_a_strong_pull_leaves_the_predictions_nearer_the_base(tmp_path: Path) -> None:
    far = []
    for strength in (0.0, 10.0):
        run = tiny.trainer(tmp_path / f"{strength}", Full(), KlBase(strength=strength), steps=12, save_every=12)
        run.train()
        far.append(moved(run))
    # 0.04 of the plain divergence here; a penalty without gradient leaves it as it is.
    assert far[1] < 0.3 * far[0]


def test_the_base_stays_as_it_was_and_out_of_the_optimizer(tmp_path: Path) -> None:
    method = KlBase(strength=1.0)
    run = tiny.trainer(tmp_path, Full(), method)
    start = tiny.weights(run)
    run.train()
    base = dict(method._base.named_parameters())  # pyright: ignore[reportOptionalMemberAccess]
    assert all(torch.equal(weight, start[f"model.{name}"]) for name, weight in base.items())
    assert not any(weight.requires_grad for weight in base.values())


@pytest.mark.parametrize("method", [Lora(rank=2), PromptTuning(length=3)], ids=["lora", "prompt"])
def test_it_runs_beside_every_kind_of_method(tmp_path: Path, method: Lora | PromptTuning) -> None:
    tiny.trainer(tmp_path, method, KlBase()).train()


def test_a_resumed_run_is_held_to_the_first_base(tmp_path: Path) -> None:
    whole = tiny.trainer(tmp_path / "whole", Full(), KlBase(strength=1.0))
    whole.train()
    tiny.trainer(tmp_path / "half", Full(), KlBase(strength=1.0), steps=3).train()
    resumed = tiny.trainer(tmp_path / "half", Full(), KlBase(strength=1.0))
    resumed.train()
    expected = tiny.weights(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in tiny.weights(resumed).items())

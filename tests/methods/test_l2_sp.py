"""L2-SP: the penalty by hand, its gradient, that it is off when off, and that it holds the weights back."""

from pathlib import Path

import pytest
import torch

from holdfast.methods.full import Full
from holdfast.methods.l2_sp import L2Sp, distance
from holdfast.methods.lora import Lora
from holdfast.training.loop import Training
from tests.training import tiny


def test_the_distance_by_hand() -> None:
    """(3 - 1)^2 + (0 - 2)^2 + (5 - 4)^2 = 9."""
    weights = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[5.0]])}
    start = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[4.0]])}
    assert float(distance(weights, start)) == 9.0


def test_its_gradient_is_right() -> None:
    draw = torch.Generator().manual_seed(0)
    start = {"a": torch.randn(3, 2, generator=draw, dtype=torch.float64)}
    weights = torch.randn(3, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: distance({"a": w}, start), (weights,))


def test_the_penalty_is_half_the_strength_times_the_distance_of_what_moves(tmp_path: Path) -> None:
    method = L2Sp(strength=0.5)
    run = Training(tiny.trainer(tmp_path, Full(), method))
    moved = run.model.model.model.norm.weight
    frozen = run.model.model.model.embed_tokens.weight
    frozen.requires_grad_(False)
    output = run.model(tiny.rows(2))
    with torch.no_grad():
        moved += 2.0
        frozen += 7.0
    value = method.penalty(run.model, [], output)
    assert value is not None
    assert float(value.detach()) == 0.5 / 2 * 4.0 * moved.numel()
    value.backward()
    assert torch.equal(moved.grad, torch.full_like(moved, 0.5 * 2.0))
    assert frozen.grad is None


def test_strength_zero_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [Full(), L2Sp(strength=0)])


@pytest.mark.parametrize("budget", [4096, 20])
def test_a_strong_pull_leaves_the_weights_nearer_the_start(tmp_path: Path, budget: int) -> None:
    """Also where a step is split into forwards: their shares of the penalty add up to one."""
    far = []
    for strength in (0.0, 10.0):
        run = tiny.trainer(
            tmp_path / f"{strength}", Full(), L2Sp(strength=strength), steps=12, save_every=12, token_budget=budget
        )
        start = tiny.weights(run)
        run.train()
        far.append(float(distance(tiny.weights(run), start)))
    # 0.011 of the plain distance here; a penalty without gradient leaves it as it is.
    assert far[1] < 0.1 * far[0]


def test_a_resumed_run_pulls_to_the_first_start(tmp_path: Path) -> None:
    assert tiny.resumes(lambda folder, **options: tiny.trainer(folder, Full(), L2Sp(strength=1.0), **options), tmp_path)


def test_beside_lora_only_the_adapter_is_held(tmp_path: Path) -> None:
    """The penalty is of the adapter's matrices alone: frozen weights count for nothing, wherever they lie."""
    method = L2Sp(strength=0.5)
    run = Training(tiny.trainer(tmp_path, Lora(rank=2), method))
    adapter = {name: p for name, p in run.model.model.named_parameters() if "lora_" in name}
    frozen = [p for name, p in run.model.model.named_parameters() if "lora_" not in name]
    assert [name for name, p in run.model.model.named_parameters() if p.requires_grad] == list(adapter)
    rows = tiny.rows(2)
    with torch.no_grad():
        for weight in frozen:
            weight += 3.0
        for weight in adapter.values():
            weight += 2.0
    value = method.penalty(run.model, rows, run.model(rows))
    assert value is not None
    count = sum(weight.numel() for weight in adapter.values())
    # 1e-5: rounding of float32 sums. The frozen weights alone would add 0.25 * 9 for each of 15,000 entries.
    assert float(value.detach()) == pytest.approx(0.5 / 2 * 4.0 * count, rel=1e-5)
    value.backward()
    assert all(weight.grad is None for weight in frozen)
    assert all(torch.allclose(w.grad, torch.tensor(1.0), rtol=1e-5) for w in adapter.values() if w.grad is not None)
    assert sum(weight.grad is not None for weight in adapter.values()) == len(adapter)
    assert method._start.keys() == adapter.keys()


def test_beside_lora_a_strong_pull_leaves_the_adapter_nearer_its_start(tmp_path: Path) -> None:
    moved = []
    for strength in (0.0, 10.0):
        run = tiny.trainer(tmp_path / f"{strength}", Lora(rank=2), L2Sp(strength=strength), steps=12, save_every=12)
        Training(run)
        start = {name: p.detach().clone() for name, p in run.model.model.named_parameters() if "lora_" in name}
        again = tiny.trainer(tmp_path / f"{strength}", Lora(rank=2), L2Sp(strength=strength), steps=12, save_every=12)
        again.train()
        after = {name: p for name, p in again.model.model.named_parameters() if name in start}
        moved.append(float(distance(after, start).detach()))
    assert moved[1] < 0.3 * moved[0]  # a pull without gradient leaves it as it is


def test_the_order_of_the_methods_does_not_matter(tmp_path: Path) -> None:
    """The bug: weights are copied under names that LoRA then changes."""
    for folder, methods in (("one", (Lora(rank=2), L2Sp(strength=10))), ("other", (L2Sp(strength=10), Lora(rank=2)))):
        tiny.trainer(tmp_path / folder, *methods, steps=2).train()
    assert tiny.losses(tmp_path / "one") == tiny.losses(tmp_path / "other")

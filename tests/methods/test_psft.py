"""PSFT: the gradient of the clipped objective, by hand, and plain training at its end."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.psft import Psft
from holdfast.prefix.model import PrefixModel
from holdfast.training.loop import Trainer
from tests.training import tiny

CLIP = 0.2


class Gradients(Method):
    """The weights before each step, and the gradients that it is taken with, not clipped yet."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.gradients: list[dict[str, Tensor]] = []

    def after_backward(self, model: PrefixModel) -> None:
        named = dict(model.model.named_parameters())
        self.weights.append({name: p.detach().clone() for name, p in named.items()})
        self.gradients.append({name: p.grad.clone() for name, p in named.items() if p.grad is not None})


def label_probabilities(weights: dict[str, Tensor], rows: list[Any]) -> list[Tensor]:
    """The probability of each label under these weights, row by row and without the library's forward."""
    model = tiny.pretrained().model
    probabilities = []
    for row in rows:
        out = torch.func.functional_call(model, weights, (torch.tensor([row.tokens]),))
        shares = out.logits[0, :-1].softmax(-1)
        labels = torch.tensor(row.labels)
        probabilities.append(shares[labels - 1, torch.tensor(row.tokens)[labels]])
    return probabilities


def test_the_gradient_is_that_of_the_clipped_objective(tmp_path: Path) -> None:
    rows, seen = tiny.rows(4), Gradients()
    run = tiny.trainer(tmp_path, Full(), Psft(clip=CLIP, refresh=3), seen, data=rows, steps=6, learning_rate=3e-4)
    run.train()
    clipped = []
    for step in (1, 2, 4, 5):
        weights = {name: weight.clone().requires_grad_() for name, weight in seen.weights[step].items()}
        old = seen.weights[step // 3 * 3]
        now = torch.cat(label_probabilities(weights, rows))
        ratio = now / torch.cat(label_probabilities(old, rows)).detach()
        loss = -torch.minimum(ratio, ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
        clipped.append(float((ratio > 1 + CLIP).float().mean()))
        for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            # The noise of float32 is some 1e-6; without the bound or without the ratio it is off by tenths of the largest.
            largest = float(gradient.abs().max())
            assert torch.allclose(seen.gradients[step][name], gradient, rtol=1e-3, atol=1e-4 * largest), (step, name)
    assert any(0 < share < 1 for share in clipped), "the bound must cut some tokens and not all"


def trained(run: Trainer) -> dict[str, Tensor]:
    run.train()
    return tiny.weights(run)


def test_compared_with_the_weights_of_the_same_step_it_is_plain_training_to_the_bit(tmp_path: Path) -> None:
    ours = trained(tiny.trainer(tmp_path / "psft", Full(), Psft(refresh=1)))
    plain = trained(tiny.trainer(tmp_path / "full", Full()))
    assert all(torch.equal(ours[name], plain[name]) for name in plain)


@pytest.mark.parametrize("method", [Full, Lora])
def test_a_run_that_goes_on_within_a_round_ends_with_the_same_weights(tmp_path: Path, method: type[Method]) -> None:
    def make(folder: Path, **settings: Any) -> Trainer:
        return tiny.trainer(folder, method(), Psft(clip=CLIP, refresh=2), **settings)

    assert tiny.resumes(make, tmp_path)

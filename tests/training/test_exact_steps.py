"""What one step does, to the last bit or nearly: clipping, weight decay, and which of equal validation scores is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.half_fine_tuning import HalfFineTuning
from holdfast.training.loop import Training
from tests.training import tiny


class Keep(Method):
    """Keeps the gradients as they are before clipping."""

    def after_backward(self, model: Any) -> None:
        self.gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class NoGradient(Method):
    """Leaves nothing of a step but the decay."""

    def after_backward(self, model: Any) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()


def test_the_gradient_is_clipped_as_one_vector_of_all_parameters(tmp_path: Path) -> None:
    """AdamW's first moment after one step is a tenth of the gradient that reached it. The bug: only some parameters clipped."""
    keep = Keep()
    run = Training(tiny.trainer(tmp_path, Full(), keep, steps=1, clip=0.01))
    run.run()
    norm = torch.stack([gradient.square().sum() for gradient in keep.gradients.values()]).sum().sqrt()
    assert norm > 1  # A hundred times the bound and more: what is not clipped is a hundred times too large.
    for name, parameter in run.model.named_parameters():
        expected = 0.1 * keep.gradients[name] * 0.01 / norm
        # torch divides by the norm + 1e-6; that and float32 rounding are below 1e-5 of each entry.
        torch.testing.assert_close(run.optimizer.state[parameter]["exp_avg"], expected, rtol=1e-5, atol=1e-9)


def test_a_gradient_below_the_bound_is_left_alone(tmp_path: Path) -> None:
    keep = Keep()
    run = Training(tiny.trainer(tmp_path, Full(), keep, steps=1, clip=1e6))
    run.run()
    for name, parameter in run.model.named_parameters():
        torch.testing.assert_close(run.optimizer.state[parameter]["exp_avg"], 0.1 * keep.gradients[name])


@pytest.mark.parametrize("method", [Full(), HalfFineTuning()], ids=["full", "half"])
def test_matrices_decay_and_norms_and_biases_do_not(tmp_path: Path, method: Method) -> None:
    """Without a gradient a step at rate 0.1 and decay 0.5 leaves 0.95 of each matrix that moves, and every vector as it was."""
    run = tiny.trainer(
        tmp_path,
        method,
        NoGradient(),
        model=tiny.pretrained(attention_bias=True),
        steps=1,
        learning_rate=0.1,
        weight_decay=0.5,
    )
    with torch.no_grad():
        for parameter in run.model.parameters():  # Biases begin at zero, where no decay would be seen.
            parameter.add_(1.0)
    before = tiny.weights(run)
    run.train()
    moving = {name for name, p in run.model.named_parameters() if p.requires_grad}
    vectors = {name for name in moving if before[name].ndim == 1}
    assert any("norm" in name for name in vectors)
    assert any(name.endswith("bias") for name in vectors)
    for name, weight in tiny.weights(run).items():
        decays = name in moving and name not in vectors
        # One rounding of float32; a decayed vector would be off by 5 %.
        torch.testing.assert_close(weight, before[name] * (0.95 if decays else 1.0), rtol=1e-6, atol=1e-7)


def test_of_equal_validation_scores_the_earliest_is_kept(tmp_path: Path) -> None:
    """Its weights have moved least. The bug: `>=` for `>`, which keeps the last."""
    run = tiny.trainer(tmp_path, Full(), steps=6, save_every=2)
    seen: list[dict[str, torch.Tensor]] = []

    def validate(model: torch.nn.Module) -> float:
        seen.append(tiny.weights(run))
        return [1.0, 2.0, 2.0][len(seen) - 1]

    run.validate = validate
    assert run.train().best_step == 4
    assert all(torch.equal(seen[1][name], weight) for name, weight in tiny.weights(run).items())
    assert any(not torch.equal(seen[2][name], weight) for name, weight in tiny.weights(run).items())

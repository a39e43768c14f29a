"""The token loss by hand, and its gradient in float64."""

import math

import pytest
import torch

from holdfast.training.loss import token_loss


def test_a_uniform_guess_costs_the_log_of_the_vocabulary_times_its_weight() -> None:
    loss = token_loss(torch.zeros(2, 8), torch.tensor([3, 5]), torch.tensor([1.0, 0.5]))
    assert float(loss) == pytest.approx(1.5 * math.log(8))


def test_smoothing_mixes_in_the_mean_over_the_vocabulary() -> None:
    """p = (3/4, 1/4), s = 0.2, label 0: 0.8 x -ln 3/4 + 0.2 x (-ln 3/4 - ln 1/4) / 2."""
    logits = torch.tensor([[math.log(3.0), 0.0]])
    expected = 0.8 * -math.log(0.75) + 0.1 * (-math.log(0.75) - math.log(0.25))
    assert float(token_loss(logits, torch.tensor([0]), torch.ones(1), 0.2)) == pytest.approx(expected)


def test_the_gradient_is_softmax_minus_label() -> None:
    """In float32 by construction, so checked against the closed form; noise 1e-7, a sign or a missing weight: 0.1."""
    logits = torch.randn(5, 7, requires_grad=True)
    labels, weights = torch.tensor([0, 6, 3, 3, 1]), torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0])
    token_loss(logits, labels, weights).backward()
    expected = (logits.detach().softmax(-1) - torch.eye(7)[labels]) * weights[:, None]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected, atol=1e-6, rtol=0)

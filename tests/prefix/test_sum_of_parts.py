"""A sum over parts: the value and the gradients of the sum as autograd has them, whatever the loss is made of."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from holdfast.prefix.sum_of_parts import sum_of_parts

ROWS, WIDTH, WORDS = 7, 5, 11


class TwoBiases(nn.Module):
    """A head whose two biases get the same tensor as their gradient, and a factor that makes the weight no leaf."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WORDS, WIDTH))
        self.factor = nn.Parameter(torch.randn(WORDS, 1))
        self.first, self.second = nn.Parameter(torch.randn(WORDS)), nn.Parameter(torch.randn(WORDS))

    def forward(self, states: Tensor) -> Tensor:
        return states @ (self.weight * self.factor).T + (self.first + self.second)


def made(scale: float = 1.0) -> tuple[TwoBiases, Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]:
    torch.manual_seed(0)
    head, states, labels = TwoBiases(), scale * torch.randn(ROWS, WIDTH), torch.randint(WORDS, (ROWS,))
    return (
        head,
        states.requires_grad_(),
        labels,
        lambda labels, states: nn.functional.cross_entropy(head(states).float(), labels, reduction="sum"),
    )


def gradients(head: nn.Module, states: Tensor, value: Tensor) -> list[Tensor]:
    # Three losses in one, as penalties are: each is scaled and added before the backward pass.
    leaves = [states, *head.parameters()]
    return list(torch.autograd.grad(0.25 * value + states.sum(), leaves))


@pytest.mark.parametrize("size", [1, 3, ROWS])
@pytest.mark.parametrize("low", [False, True])
def test_value_and_gradients_are_those_of_the_whole(size: int, low: bool) -> None:
    """float32: the order of sums, 1e-6. bfloat16 rounds each part by itself, 1 in 256; a part left out is off by a third."""
    head, states, labels, loss = made()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        whole = loss(labels, states)
        parts = sum_of_parts(loss, zip(labels.split(size), states.split(size), strict=True))
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-5)
    for ours, theirs in zip(gradients(head, states, parts), gradients(head, states, whole), strict=True):
        assert ours.dtype is theirs.dtype is torch.float32
        noise = (2e-2 if low else 1e-5) * float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=noise)


def test_what_takes_no_gradient_gets_none() -> None:
    head, states, labels, loss = made()
    head.weight.requires_grad_(False)
    value = sum_of_parts(loss, zip(labels.split(3), states.detach().split(3), strict=True))
    value.backward()
    assert head.weight.grad is states.grad is None
    assert head.factor.grad is not None
    with torch.no_grad():
        assert not sum_of_parts(loss, zip(labels.split(3), states.split(3), strict=True)).requires_grad


def test_tensors_that_share_a_gradient_are_scaled_once_each() -> None:
    """Autograd gives the terms of a sum one tensor, and of a plain sum one number seen many times, which cannot be changed in place."""
    first, second = torch.randn(ROWS, WIDTH).requires_grad_(), torch.randn(ROWS, WIDTH).requires_grad_()
    value = sum_of_parts(lambda one, other: (one + other).sum(), zip(first.split(3), second.split(3), strict=True))
    (0.25 * value).backward()
    assert torch.equal(first.grad, torch.full((ROWS, WIDTH), 0.25))  # pyright: ignore[reportArgumentType]
    assert torch.equal(second.grad, torch.full((ROWS, WIDTH), 0.25))  # pyright: ignore[reportArgumentType]


def test_a_second_backward_pass_fails_and_is_not_wrong() -> None:
    _, states, labels, loss = made()
    value = sum_of_parts(loss, zip(labels.split(3), states.split(3), strict=True))
    value.backward(retain_graph=True)
    with pytest.raises(AttributeError, match="gradients"):
        value.backward()

"""A sum over parts that keeps nothing of a part but its gradients, which are computed with its value.

Autograd would keep what each part computed until the backward pass, or, with checkpointing, compute each part a second time there.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def sum_of_parts(value_of: Callable[..., Tensor], parts: Iterable[tuple[Tensor, ...]]) -> Tensor:
    """Return the sum of `value_of(*tensors)`, scalars, over the tensors of each part; gradients flow to them and to all parameters.

    It can be passed backward through once, and has no second derivatives.
    """
    values: list[Tensor] = []
    receivers: list[Tensor] = []
    gradients: list[Tensor] = []
    sums: dict[Tensor, Tensor] = {}  # of the parameters' gradients
    for tensors in parts:
        cut = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in tensors]
        value = value_of(*cut)
        values.append(value.detach())
        leaves = _leaves(value)
        # Without autocast, under which the loss may be computed: its casts are in the graph.
        with torch.autocast(value.device.type, enabled=False):
            by_leaf = dict(zip(leaves, torch.autograd.grad(value, leaves), strict=True)) if leaves else {}
        for tensor, leaf in zip(tensors, cut, strict=True):
            if leaf in by_leaf:
                receivers.append(tensor)
                # Copied, because the backward pass changes it: two leaves may be given the same tensor, as the terms of a sum are.
                gradients.append(by_leaf.pop(leaf).clone())
        for leaf, gradient in by_leaf.items():
            sums[leaf] = sums[leaf].add_(gradient) if leaf in sums else gradient.clone()
    total = torch.stack(values).sum()
    return _Known.apply(total, [*gradients, *sums.values()], *receivers, *sums) if receivers or sums else total  # pyright: ignore[reportReturnType]


def _leaves(value: Tensor) -> list[Tensor]:
    """Return the tensors from which a value was computed, and which take gradients."""
    leaves: list[Tensor] = []
    waiting, seen = [value.grad_fn], {None}
    while waiting:
        node: Any = waiting.pop()
        if node not in seen:
            seen.add(node)
            leaves += [node.variable] if hasattr(node, "variable") else []
            waiting += [before for before, _ in node.next_functions]
    return leaves


class _Known(torch.autograd.Function):
    """A value whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *tensors: Tensor) -> Tensor:
        """Keep the gradients, those of `tensors` in their order."""
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_value: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients, each times that of the value."""
        gradients = [gradient.mul_(by_value) for gradient in ctx.gradients]
        del ctx.gradients  # They were changed in place: a second pass must fail, and not be wrong.
        return None, None, *gradients

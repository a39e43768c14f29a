"""Muon: momentum whose every matrix is made orthogonal before it is applied (Jordan et al. 2024)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration that pulls all singular values towards 1


class Muon:
    """An optimizer for the matrices between the layers; matrices of one shape are stacked and computed together.

    The learning rate is the spectral size of a step (times sqrt(rows / columns) for tall matrices), so one value
    serves all widths. Vectors and embeddings belong to another optimizer.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, momentum: float = 0.95, decay: float = 0.05, iterations: int = 5
    ) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault(parameter.shape, []).append(parameter)
        self.groups = list(shapes.values())
        self.buffers = [torch.zeros(len(group), *group[0].shape) for group in self.groups]
        self.momentum, self.decay, self.iterations = momentum, decay, iterations

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move every matrix against its orthogonalized Nesterov momentum."""
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonalized(gradient.lerp(buffer, self.momentum), self.iterations)
            size = learning_rate * max(1.0, update.shape[1] / update.shape[2]) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - learning_rate * self.decay).add_(change, alpha=-size)

    def state_dict(self) -> dict[str, Any]:
        """The momentum, for a checkpoint."""
        return {"buffers": self.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the momentum of a checkpoint."""
        self.buffers = [buffer.clone() for buffer in state["buffers"]]


def orthogonalized(matrices: Tensor, iterations: int) -> Tensor:
    """Matrices `[N, R, C]` with their singular values pulled to about 1 (0.7 to 1.2), by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if matrices.shape[1] > matrices.shape[2] else x

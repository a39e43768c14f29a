"""The numbers of a model that moved furthest, ranked over all of its tensors together."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from holdfast.weights.largest import Bits, magnitudes, select_top

SLICE = (
    1 << 16
)  # Numbers that are compared at a time: all differences of a model at once would be one more model in memory.


def largest_changes(start: Mapping[str, Tensor], end: Mapping[str, Tensor], keep: int) -> dict[str, Tensor]:
    """Return a mask of each tensor of `start`: the `keep` of all their numbers that changed most; of equal changes the first ones."""
    slices: list[tuple[str, int]] = []
    for name, tensor in start.items():
        slices += [(name, first) for first in range(0, tensor.numel(), SLICE)]

    # Called again and again: the selection goes over the model a few times instead of sorting all of its numbers.
    def changes(every: int, stride: int = 1) -> Iterator[Bits]:
        for name, first in slices[::every]:
            before, after = (
                tensors[name].detach().reshape(-1)[first : first + SLICE : stride] for tensors in (start, end)
            )
            yield magnitudes(before.cpu(), after.cpu())

    # One ranking for the whole model: layers that moved further get more of the numbers.
    size = sum(tensor.numel() for tensor in start.values())
    select = select_top(changes, size, keep)
    masks = {name: torch.empty(tensor.numel(), dtype=torch.bool) for name, tensor in start.items()}
    for (name, first), bits in zip(slices, changes(1), strict=True):
        masks[name][first : first + SLICE] = torch.from_numpy(select(bits))
    return {name: mask.view(start[name].shape) for name, mask in masks.items()}

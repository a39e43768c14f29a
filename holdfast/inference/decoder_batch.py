"""State of a batch of prompts during decoding: what the model has seen of each, and one step further at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.prefix.cache import Prefix, RowCache, next_token, step


@dataclass(slots=True)
class Batch:
    """B prompts behind one prefix of P places, T places of their own (padded on the left), and room for what comes.

    `mask` [B, P + T + room] is False at the padding; `position` [B] is where each row's next token stands; `filled`
    counts the places that the cache holds, `begun` of them since before the first new token.
    """

    model: Any
    cache: RowCache
    mask: Tensor
    position: Tensor
    filled: int
    begun: int

    def advance(self, tokens: Tensor) -> Tensor:
        """Append a token to each row `[B]`; return the logits `[B, V]` of what follows it."""
        self.filled += 1
        logits = next_token(self.model, self.cache, tokens, self.position, self.mask[:, : self.filled])
        self.position = self.position + 1
        return logits

    def keep(self, order: Sequence[int]) -> None:
        """Make row i what row `order[i]` was, and drop the other rows."""
        self.cache.keep(order)
        self.mask, self.position = self.mask[order], self.position[order]

    def repeat(self, times: int) -> None:
        """Make every row so many equal rows, side by side."""
        self.cache.repeat(times)
        self.mask, self.position = self.mask.repeat_interleave(times, 0), self.position.repeat_interleave(times, 0)

    def reorder(self, order: Tensor) -> None:
        """Let row i go on with what row `order[i]` `[B]` wrote; both continue the same prompt."""
        self.cache.reorder(order, self.begun)


def start(
    model: Any, prefix: Prefix, suffixes: Sequence[Sequence[int]], room: int, *, one_copy: bool = False
) -> tuple[Batch, Tensor]:
    """Run what prompts have of their own behind their common prefix; return the batch, and the logits `[B, V]` of each one's next token.

    `one_copy`: the prefix is held once for all rows (see `Prefix.open`).
    """
    rows, width = len(suffixes), max(map(len, suffixes))
    device = next(model.parameters()).device
    # Padded on the left, so that the last column is every row's newest token and a step writes one column for all.
    tokens = torch.tensor([[0] * (width - len(suffix)) + list(suffix) for suffix in suffixes], device=device)
    pads = torch.tensor([width - len(suffix) for suffix in suffixes], device=device)[:, None]
    slot = torch.arange(width, device=device)
    suffix_mask = torch.cat([slot >= pads, slot.new_ones(rows, room, dtype=torch.bool)], 1)
    mask = torch.cat([suffix_mask.new_ones(rows, prefix.length), suffix_mask], 1)
    # Padding is not counted, or a row's positions would depend on the longest suffix beside it. It is masked, so any
    # valid position will do there.
    positions = (prefix.length + slot - pads).clamp(min=0)
    filled = prefix.length + width
    cache = prefix.open(rows, width + room, one_copy=one_copy)
    # Steps of one token can read the prefix beside the rows; whole suffixes need the model's own attention.
    if width == 1:
        logits = next_token(model, cache, tokens[:, 0], positions[:, 0], mask[:, :filled])
    else:
        last = torch.arange(1, rows + 1, device=device) * width - 1
        logits = step(model, cache, tokens, positions, mask[:, :filled], last)
    return Batch(model, cache, mask, positions[:, -1] + 1, filled, filled), logits


def compact(going: Sequence[int], rows: int) -> list[int]:
    """Return the old row for each new one when only some go on: those that can stay do, the last fill the holes.

    >>> compact([0, 2, 3, 5], 6)
    [0, 5, 2, 3]
    """
    assert len(going) <= rows
    # Rows that stay where they are need no copy of their keys and values, which is what a step would wait for.
    movers = [row for row in going if row >= len(going)]
    staying = set(going)
    return [slot if slot in staying else movers.pop() for slot in range(len(going))]

"""Who sees whom in packed rows, as each attention implementation wants to be told.

All of them follow from `Packed.end` [R, S]: place q sees place k exactly when `k <= q < end[k]`. Every place sees
itself, padding included, so that no softmax runs over nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask


def visible(end: Tensor) -> Tensor:
    """[R, S] -> bool [R, 1, S, S], True where the query (third axis) sees the key (last axis)."""
    place = torch.arange(end.shape[1], device=end.device)
    query, key = place[:, None], place[None, :]
    return ((key <= query) & (query < end[:, None, :])).unsqueeze(1)


def additive(end: Tensor, dtype: torch.dtype) -> Tensor:
    """[R, S] -> float [R, 1, S, S], added to the scores: 0 where the query sees the key, else the lowest number."""
    seen = visible(end)
    return torch.zeros(seen.shape, dtype=dtype, device=end.device).masked_fill_(~seen, torch.finfo(dtype).min)


def blocks(end: Tensor, block: int = 128) -> BlockMask:
    """[R, S] -> a BlockMask for flex_attention, which skips the blocks in which nothing sees anything."""

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < end[batch, key])

    rows, length = end.shape
    return create_block_mask(sees, rows, None, length, length, device=str(end.device), BLOCK_SIZE=block)


def behind(mask: Tensor, prompt: Tensor, lengths: Sequence[int]) -> Tensor:
    """The mask [R, 1, S, S] of rows behind deep prefixes: [R, 1, S, Q + S].

    The Q columns in front are those of all prefixes, so many `lengths` of each; a place sees those of its own `prompt` [R, S].
    """
    owner = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).to(prompt.device)
    seen = (prompt[:, :, None] == owner).unsqueeze(1)
    if mask.dtype != torch.bool:
        seen = torch.zeros_like(seen, dtype=mask.dtype).masked_fill_(~seen, torch.finfo(mask.dtype).min)
    return torch.cat([seen, mask], -1)


def for_attention(implementation: str | None, end: Tensor, dtype: torch.dtype) -> Any:
    """The mask in the form that a transformers attention implementation (`config._attn_implementation`) reads rightly.

    An eager implementation *adds* the mask, so that a boolean one would count True as +1: it gets the additive form,
    which the others that take a tensor understand too.
    """
    if implementation == "sdpa":
        return visible(end)
    if implementation == "flex_attention":
        return blocks(end)
    return additive(end, dtype)


@contextmanager
def attending(model: Any, implementation: str) -> Iterator[None]:
    """Within, the model attends by another implementation that transformers knows (`AttentionInterface.register`)."""
    own = model.config._attn_implementation
    model.config._attn_implementation = implementation
    try:
        yield
    finally:
        model.config._attn_implementation = own

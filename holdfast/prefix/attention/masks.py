"""Attention masks of packed rows, in the form that each attention implementation reads.

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
    """Return a mask, [R, S] -> bool [R, 1, S, S], True where the query (third axis) sees the key (last axis)."""
    slot = torch.arange(end.shape[1], device=end.device)
    query, key = slot[:, None], slot[None, :]
    return ((key <= query) & (query < end[:, None, :])).unsqueeze(1)


def additive(end: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask, [R, S] -> float [R, 1, S, S], added to the scores: 0 where the query sees the key, else the lowest number."""
    seen = visible(end)
    # The lowest finite number, as in transformers' own masks: a softmax over -inf alone would be NaN.
    return torch.zeros(seen.shape, dtype=dtype, device=end.device).masked_fill_(~seen, torch.finfo(dtype).min)


def blocks(end: Tensor, block: int = 128) -> BlockMask:
    """Return a BlockMask from `end` [R, S] for flex_attention, which skips the blocks in which nothing sees anything."""

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < end[batch, key])

    rows, length = end.shape
    return create_block_mask(sees, rows, None, length, length, device=str(end.device), BLOCK_SIZE=block)


def with_prefixes(mask: Tensor, prompt: Tensor, lengths: Sequence[int]) -> Tensor:
    """Extend the mask [R, 1, S, S] of rows by the columns of their deep prefixes: [R, 1, S, Q + S].

    The Q columns in front are those of all prefixes, so many `lengths` of each; a place sees those of its own `prompt` [R, S].
    """
    owner = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).to(prompt.device)
    # Rows of all prompts stand in one forward, so every query meets every prefix and all but its own are masked.
    seen = (prompt[:, :, None] == owner).unsqueeze(1)
    if mask.dtype != torch.bool:
        seen = torch.zeros_like(seen, dtype=mask.dtype).masked_fill_(~seen, torch.finfo(mask.dtype).min)
    return torch.cat([seen, mask], -1)


def for_attention(implementation: str | None, end: Tensor, dtype: torch.dtype) -> Any:
    """Return the mask in the form that a transformers attention implementation (`config._attn_implementation`) reads rightly."""
    if implementation == "sdpa":
        return visible(end)
    if implementation == "flex_attention":
        return blocks(end)
    # An eager implementation *adds* the mask, so that a boolean one would count True as +1. The additive form is also read
    # rightly by the others that take a tensor.
    return additive(end, dtype)


@contextmanager
def attending(model: Any, implementation: str) -> Iterator[None]:
    """Switch the model to another registered attention implementation (`AttentionInterface.register`), within the context."""
    original = model.config._attn_implementation
    model.config._attn_implementation = implementation
    try:
        yield
    finally:
        model.config._attn_implementation = original

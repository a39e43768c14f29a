"""Attention of one new token a row, for rows that share a prefix: the prefix's keys and values are read once for all rows.

With a copy of the prefix in every row, a step of generation reads B x P keys and values, and little else takes as long. Here all
rows' queries meet the one prefix in a single matrix product, each row's own keys meet its own query, and one softmax runs over both:
the same sum in another order.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from holdfast.prefix.attention.masks import attending

NAME = "holdfast_together"


def attention_together(model: Any) -> AbstractContextManager[None]:
    """Let attention take its prefix from `before`, an attribute of the keys: `(keys, values)`, `[1, K, P, d]` each."""
    return attending(model, NAME)


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers calls an implementation: queries `[B, H, 1, d]`, output `[B, 1, H, d]`.

    Args:
        key, value: `[B, K, T, d]`, the rows' own; query heads h, h + 1, ... share one key head where K is less than H.
        mask: bool `[B, 1, 1, T]`, True where the query sees the key. It sees all of the prefix.
        softcap: The scores s become softcap * tanh(s / softcap).
    """
    if s_aux is not None:
        raise NotImplementedError("attention sinks")
    (rows, heads, _, width), key_heads = query.shape, key.shape[1]
    keys, values = (states[0] for states in key.before)  # pyright: ignore[reportAttributeAccessIssue]
    scale = width**-0.5 if scaling is None else scaling
    query = (query * scale).view(rows, key_heads, heads // key_heads, width)
    to_prefix = _of_all_rows(query) @ keys.mT
    # One softmax over both parts: two, each over its part, would normalise a row's suffix and prefix separately.
    scores = torch.cat([_of_each_row(to_prefix, rows), query @ key.mT], -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    length = keys.shape[1]
    scores[..., length:].masked_fill_(~mask, float("-inf"))
    # In float32, as the reference kernels do: in bfloat16 the sum of many small shares loses the tail of a long prefix.
    shares = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    from_prefix = _of_each_row(_of_all_rows(shares[..., :length]) @ values, rows)
    return (from_prefix + shares[..., length:] @ value).reshape(rows, 1, heads, -1), None


def _of_all_rows(states: Tensor) -> Tensor:
    """Reshape [B, K, G, n] to [K, B x G, n]: one matrix for each key head."""
    return states.transpose(0, 1).flatten(1, 2)


def _of_each_row(states: Tensor, rows: int) -> Tensor:
    """Reshape [K, B x G, n] to [B, K, G, n]."""
    return states.unflatten(1, (rows, -1)).transpose(0, 1)


AttentionInterface.register(NAME, attention)

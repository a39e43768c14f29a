"""The row lengths up to which a computation proved on short rows holds: tried with numbers, where that can be afforded.

A model may look back a limited number of places (a sliding window, chunks, GPT-Neo's local layers) or turn its positions by the longest
one of a forward (longrope). Its configuration states where this begins, under one of many names. So every integer there that may be a
length counts (`describe.limits`): rows that are longer are computed both ways once, and compared.

Cost: a limit is tried when rows first go beyond it, with half as much again, so with at most twice the work of one batch of that length,
and 3,072 places at the most. Limits above AFFORDABLE are not tried: rows stay within them, and what is longer goes the plain way.
"""

from collections.abc import Callable
from itertools import cycle, islice
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from holdfast.models import describe
from holdfast.models.architecture import architecture_of
from holdfast.prefix.cache import continued
from holdfast.prefix.probe import agrees, random_tokens, takes

BASE = 10  # Places of the shortest attempt: no model is known whose locality begins below.
AFFORDABLE = 2048
_LIMITS: WeakKeyDictionary[nn.Module, tuple[int, ...]] = WeakKeyDictionary()

Attempt = Callable[..., tuple[Tensor, Tensor]]


def reach(model: Any, attempt: Attempt, length: int, *options: bool, most: int = 2**30) -> int:
    """Return the most positions, at most `length`, up to which an attempt agrees; 0 where it does not agree at all.

    Args:
        attempt: `attempt(model, places, *options)` computes rows of so many places in two ways, as `agrees` compares them.
        most: No attempt has more places than this.
    """
    if not agrees(model, attempt, BASE, *options):
        return 0
    limits = [limit for limit in limits_of(model) if BASE <= limit < length]
    near = [limit for limit in limits if limit <= AFFORDABLE]
    within = min([length, *limits[len(near) :]])

    def agrees_beyond(limit: int) -> bool:
        return agrees(model, attempt, _beyond(limit, most), *options)

    if not near or agrees_beyond(near[-1]):
        return within
    low, high = 0, len(near) - 1  # It agrees beyond all before `low`, and does not beyond `high`.
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if agrees_beyond(near[middle]) else (low, middle)
    if agrees(model, attempt, near[low], *options):
        return near[low]
    return min(near[low], _beyond(near[low - 1], most) if low else BASE)


def reach_of_depth(model: Any, attempt: Attempt, length: int, *options: bool) -> int:
    """Return `reach` for attempts whose rows see all of their places, so that no window and no turn of positions may be crossed."""
    ends = [end for end in (describe.window(model), *turns(model)) if end is not None]
    return reach(model, attempt, min([length, *ends]), *options, most=describe.max_length(model))


def limits_of(model: Any) -> tuple[int, ...]:
    """Return `describe.limits`, read once for each model."""
    if model not in _LIMITS:
        _LIMITS[model] = describe.limits(model)
    return _LIMITS[model]


def turns(model: Any) -> tuple[int, ...]:
    """Return the lengths beyond which a forward's longest position changes what it computes at all others (longrope).

    Costs two forwards of 16 tokens for each limit, whatever its size: rows with positions up to the limit, alone and beside others.
    """
    if not takes(model, "position_ids") or not architecture_of(model).one_sequence:
        return ()
    inside = [limit for limit in limits_of(model) if BASE <= limit < describe.max_length(model) < 2**30]
    return tuple(limit for limit in inside if not agrees(model, _beside_short_and_long, limit, refused=True))


def crosses(model: Any, first: int, last: int) -> bool:
    """Return True where positions turn between `first` and `last`: the keys of the first cannot be continued to the last."""
    return any(first <= turn < last for turn in turns(model))


def shares_prefix(model: Any, length: int) -> bool:
    """Return True where steps of one token may share their prefix in texts of that length; tried with numbers, as `cache.shares` is."""
    return reach_of_depth(model, continued, length, True) >= length


def pads(model: Any, length: int) -> bool:
    """Return True where texts of different lengths, up to this one, may be continued side by side, padded behind their common prefix."""
    return reach_of_depth(model, continued, length, False) >= length


def filling(places: int) -> list[int]:
    """Return lengths of short rows that take about so many places, and no more, when they are packed; a row's last token takes none.

    The more places, the longer the rows: each is predicted at its end, and a row of logits may take a megabyte.
    """
    scale = max(1, places // 128)
    lengths = [3 * scale, 5 * scale, 4 * scale]  # In this order no part of a round takes more than its share.
    return list(islice(cycle(lengths), max(1, places // (4 * scale - 1))))


def _beyond(limit: int, most: int) -> int:
    """Return half as many positions again."""
    # So many, because a few positions seen too much or too little could pass for rounding in a low precision.
    return min(limit + max(8, limit // 2), most)


def _beside_short_and_long(model: Any, limit: int) -> tuple[Tensor, Tensor]:
    """Return logits of one row with positions up to the limit, beside another within it, and beside one beyond it."""
    tokens = torch.tensor(random_tokens(model, 16), device=model.device).view(2, 8)
    spread = torch.linspace(0, 1, 8, device=model.device).pow(3).mul(limit - 1).long()  # Near and far ones.
    mask = torch.ones_like(tokens)
    logits = []
    for longest in (limit - 1, min(limit + 8, describe.max_length(model) - 1)):
        positions = torch.stack([spread, spread + (longest - limit + 1)])
        logits.append(model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False).logits[0])
    return logits[0], logits[1]

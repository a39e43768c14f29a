"""Attention of a packed row along its paths: a place is scored against what it sees, and against little else.

A dense kernel scores all S x S pairs of a packed row, of which few count. Here the packed row falls into runs, stretches
in which every place sees the one before: the prompt with the first row, then the rest of each row. A run's queries meet the
keys of its own path only, gathered one behind the other, and runs of about one shape are computed side by side by torch's own
kernel: the same sums over the same keys. All rows then fit one packed row, which computes the prompt once and pads nothing.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from holdfast.prefix.attention.masks import attending

NAME = "holdfast_by_path"
WASTE = 4096  # Scores that one more call of the kernel would cost, about.


@dataclass(frozen=True, slots=True)
class Group:
    """N runs of up to n places, at the ends of paths of up to L places, side by side."""

    queries: Tensor  # [N x n] places; any place at the padding
    keys: Tensor  # [N x L] places; any place at the padding
    mask: Tensor  # bool [N or 1, 1, n, L], True where the query sees the key
    runs: int
    causal: bool  # the mask is that of rows without anything before them


@dataclass(frozen=True, slots=True)
class Paths:
    """The runs of one packed row of S positions, grouped by shape, and the way back to their order."""

    groups: tuple[Group, ...]
    order: Tensor  # [S] where each place stands among the groups' queries, one group after another

    @property
    def copies(self) -> float:
        """Return the number of copies of a position's keys and values, on average."""
        return sum(len(group.keys) for group in self.groups) / len(self.order)


def of_row(end: Tensor) -> Paths:
    """Find the runs of one packed row, from `Packed.end` [1, S]: place q sees place k exactly when `k <= q < end[k]`."""
    ends = end[0].numpy()
    # A run ends where a place does not see the one before: there a new branch of the tree begins.
    starts = [0, *(q for q in range(1, len(ends)) if ends[q - 1] <= q)]
    runs = [np.arange(start, stop) for start, stop in zip(starts, [*starts[1:], len(ends)], strict=True)]
    above = [np.flatnonzero(ends[:start] > start) for start in starts]
    groups, order, begin = [], np.empty(len(ends), np.int64), 0
    for members in _alike(runs, above):
        group = _group([runs[i] for i in members], [above[i] for i in members])
        for number, i in enumerate(members):
            order[runs[i]] = begin + number * (len(group.queries) // group.runs) + np.arange(len(runs[i]))
        groups.append(group)
        begin += len(group.queries)
    return Paths(tuple(groups), torch.from_numpy(order))


def _alike(runs: list[np.ndarray], above: list[np.ndarray]) -> Iterator[list[int]]:
    """Yield batches of runs (their indices), by length, each until its padding would cost more than another call."""
    shapes = [(len(run), len(run) + len(before)) for run, before in zip(runs, above, strict=True)]
    batch: list[int] = []
    useful = longest = 0
    for i in sorted(range(len(runs)), key=lambda i: (shapes[i], i)):
        places, path = shapes[i]
        padded = (len(batch) + 1) * places * max(longest, path)
        if batch and padded - useful - places * path > max(WASTE, useful // 8):
            yield batch
            batch, useful, longest = [], 0, 0
        batch.append(i)
        useful, longest = useful + places * path, max(longest, path)
    yield batch


def _group(runs: list[np.ndarray], above: list[np.ndarray]) -> Group:
    most = max(map(len, runs))
    longest = max(len(run) + len(before) for run, before in zip(runs, above, strict=True))
    queries, keys = np.zeros((len(runs), most), np.int64), np.zeros((len(runs), longest), np.int64)
    for number, (run, before) in enumerate(zip(runs, above, strict=True)):
        queries[number, : len(run)] = run
        keys[number, : len(before) + len(run)] = np.concatenate([before, run])
    depths = torch.tensor([len(before) for before in above])
    if bool((depths == depths[0]).all()):
        # One mask broadcast over the runs saves N - 1 copies of [n, L].
        depths = depths[:1]
    last = depths[:, None] + torch.arange(most)  # [N or 1, n], the last key that each query sees
    mask = torch.arange(longest) <= last[:, None, :, None]
    return Group(torch.from_numpy(queries.ravel()), torch.from_numpy(keys.ravel()), mask, len(runs), not depths.any())


def attention_by_path(model: Any) -> AbstractContextManager[None]:
    """Make the model attend along `paths`, which its forward must hand on, and look at no mask, within the context."""
    return attending(model, NAME)


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    paths: Paths | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers calls an implementation: queries `[1, H, S, d]`, output `[1, S, H, d]`.

    Args:
        key, value: `[1, K, S, d]`; query heads h, h + 1, ... share one key head where K is less than H.
        paths: The positions that each position sees.

    Raises:
        NotImplementedError: the model did not hand on its paths, or wants what torch's kernel cannot do.
    """
    if paths is None or softcap is not None or s_aux is not None:
        raise NotImplementedError("attention by path")
    (heads, _, width), key_heads = query.shape[1:], key.shape[1]
    share = heads // key_heads  # Queries that share a key stand one behind the other, as if they were more places.
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))  # [S, heads, d]
    outputs = []
    for group in paths.groups:
        queries = query.index_select(0, group.queries).view(group.runs, -1, key_heads, share, width)
        queries = queries.permute(0, 2, 3, 1, 4).flatten(2, 3)  # [N, K, share x n, d]
        keys, values = (
            states.index_select(0, group.keys).unflatten(0, (group.runs, -1)).transpose(1, 2) for states in (key, value)
        )
        # With several query heads to a key the queries are stacked, and the kernel's own causal mask would take them for one text.
        causal = group.causal and share == 1
        seen = None if causal else group.mask.repeat(1, 1, share, 1)
        attended = F.scaled_dot_product_attention(queries, keys, values, seen, dropout, causal, scale=scaling)
        attended = attended.unflatten(2, (share, -1)).permute(0, 3, 1, 2, 4)  # [N, n, K, share, d]
        outputs.append(attended.reshape(-1, heads, attended.shape[-1]))
    return torch.cat(outputs).index_select(0, paths.order)[None], None


AttentionInterface.register(NAME, attention)

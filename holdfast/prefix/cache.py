"""The keys and values of what many rows begin with: computed once, for scoring and generation, not for training.

A prefix is a soft prompt, tokens that rows share, or one followed by the other. It runs through the model alone, once.
Each batch of rows then starts from a cache of its own, so that no batch can change what the next one sees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from holdfast.prefix.attached import KeysValues, Prompt, as_attached
from holdfast.prefix.attention.shared_prefix_attention import attention_together
from holdfast.prefix.packed import head_at
from holdfast.prefix.probe import agrees, random_tokens, takes


@dataclass(frozen=True, slots=True)
class Prefix:
    """The keys and values of P places, each `[1, H, P, d]`, for every layer; None where a layer keeps none.

    `logits` [V] is the model's prediction of what follows the prefix; None where nothing of the prefix was computed.
    """

    length: int = 0
    layers: tuple[KeysValues | None, ...] = ()
    logits: Tensor | None = None

    def open(self, rows: int, room: int, *, one_copy: bool = False) -> "RowCache":
        """Return a fresh cache for a batch of rows behind this prefix, with room for so many more positions.

        Each row gets a copy of the prefix, or with `one_copy` none, where steps of one token go through `attention_together`.
        """
        return RowCache(self, rows, room, one_copy)


class _Layer(DynamicLayer):
    """One layer's keys and values `[B, H, P + room, d]`, allocated once: a step only writes its column. P is 0 where the
    prefix is not copied into it (`shared`)."""

    def __init__(self, start: KeysValues | None, rows: int, room: int, one_copy: bool = False) -> None:
        super().__init__()
        self.start, self.rows, self.room = start, rows, room
        self.length = start[0].shape[-2] if start else 0
        self.shared = self.length if one_copy else 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        places = self.length - self.shared + self.room
        # Allocated once: torch.cat in every step would copy the whole cache for each token.
        self.all_keys, self.all_values = (
            torch.empty(self.rows, new.shape[1], places, new.shape[3], dtype=new.dtype, device=new.device)
            for new in (key_states, value_states)
        )
        if self.start and self.shared:
            self.start = self.start[0].to(key_states), self.start[1].to(value_states)
        elif self.start:
            self.all_keys[:, :, : self.length], self.all_values[:, :, : self.length] = self.start

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> KeysValues:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin, end = self.length - self.shared, self.length - self.shared + key_states.shape[-2]
        assert end <= self.all_keys.shape[-2], "the cache was opened with too little room"
        self.all_keys[:, :, begin:end], self.all_values[:, :, begin:end] = key_states, value_states
        self.length += key_states.shape[-2]
        keys, values = self.all_keys[:, :, :end], self.all_values[:, :, :end]
        if not self.shared or self.start is None:
            return keys, values
        # Steps of one token go through `shared_prefix_attention`, which reads the prefix beside the keys. The first forward, of
        # whole suffixes, uses the model's own attention, which has to see them joined.
        if key_states.shape[-2] == 1:
            keys.before = self.start  # pyright: ignore[reportAttributeAccessIssue]
            return keys, values
        before = (states.expand(len(keys), -1, -1, -1) for states in self.start)
        joined = [torch.cat(pair, dim=2) for pair in zip(before, (keys, values), strict=True)]
        return joined[0], joined[1]

    def get_seq_length(self) -> int:
        return self.length


class RowCache(Cache):
    """The cache of one batch of rows behind a prefix."""

    def __init__(self, prefix: Prefix, rows: int, room: int, one_copy: bool = False) -> None:
        self.shared = prefix.length if one_copy else 0  # Places that the rows share, and that are not in their own.
        if prefix.layers:
            super().__init__(layers=[_Layer(start, rows, room, one_copy) for start in prefix.layers])
        else:
            super().__init__(layer_class_to_replicate=partial(_Layer, None, rows, room))  # pyright: ignore[reportArgumentType]

    def keep(self, order: Sequence[int]) -> None:
        """Make row i what row `order[i]` was, and drop the other rows. Only rows that move are copied."""
        moved = [slot for slot, old in enumerate(order) if slot != old]
        source = [order[slot] for slot in moved]
        for layer in self._filled():
            for states in (layer.all_keys, layer.all_values):
                states[moved] = states[source]
            layer.all_keys, layer.all_values = layer.all_keys[: len(order)], layer.all_values[: len(order)]

    def repeat(self, times: int) -> None:
        """Make every row so many equal rows, side by side."""
        for layer in self._filled():
            layer.all_keys = layer.all_keys.repeat_interleave(times, 0)
            layer.all_values = layer.all_values.repeat_interleave(times, 0)

    def reorder(self, order: Tensor, start: int) -> None:
        """Make row i what row `order[i]` was, from position `start` on; before it, these rows must be equal."""
        for layer in self._filled():
            new = slice(start - layer.shared, layer.length - layer.shared)
            for states in (layer.all_keys, layer.all_values):
                states[:, :, new] = states[order, :, new]

    def _filled(self) -> Iterator[_Layer]:
        return (layer for layer in self.layers if isinstance(layer, _Layer) and layer.is_initialized)


def prefill(model: Any, prompt: Prompt | None, tokens: Sequence[int]) -> Prefix:
    """Run a soft prompt `[P, D]` (behind a deep prefix, where one is attached), then tokens, through the model alone.

    Raises:
        TypeError: the model keeps something else than keys and values (a recurrent state), which cannot be shared so.
    """
    attached = as_attached(prompt)
    deep, size = attached.deep, attached.soft + len(tokens)
    if size == 0:
        return Prefix(deep, attached.layers)
    cache = DynamicCache()
    embeds = embed(model, attached.vectors, tokens)
    for number, (keys, values) in enumerate(attached.layers):
        cache.update(keys.to(embeds), values.to(embeds), number)
    positions = torch.arange(deep, deep + size, device=embeds.device)[None]
    last = torch.tensor([size - 1], device=embeds.device)
    logits = step(model, cache, embeds, positions, positions.new_ones(1, deep + size), last)
    layers: list[KeysValues | None] = []
    for layer in cache.layers:
        # Not isinstance: a sliding-window layer is a subclass, and has forgotten the beginning of the prefix.
        if type(layer) is not DynamicLayer:
            raise TypeError(f"{type(model).__name__} keeps a {type(layer).__name__}, not keys and values alone")
        layers.append((layer.keys, layer.values) if layer.keys is not None and layer.values is not None else None)
    if not any(layers):
        raise TypeError(f"{type(model).__name__} filled no cache of keys and values")
    return Prefix(deep + size, tuple(layers), logits[0])


def layers_of(model: Any, vectors: Tensor) -> tuple[KeysValues, ...]:
    """Return the keys and values `[1, H, P, d]` that every layer makes of a soft prompt `[P, D]`: the deep prefix that equals it.

    Raises:
        TypeError: a layer keeps something else.
    """
    layers = prefill(model, vectors, ()).layers
    kept = tuple(states for states in layers if states is not None)
    if len(kept) < len(layers):
        raise TypeError(f"{type(model).__name__} has layers that keep no keys and values of their own")
    return kept


def embed(model: Any, prompt: Tensor | None, tokens: Sequence[int]) -> Tensor:
    """Return a soft prompt `[P, D]` and tokens as the model's input vectors `[1, P + T, D]`."""
    words = model.get_input_embeddings()
    embeds = words(torch.tensor(list(tokens), dtype=torch.long, device=words.weight.device))
    return (embeds if prompt is None else torch.cat([prompt.to(embeds), embeds]))[None]


def step(model: Any, cache: Cache, new: Tensor, positions: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    """Run new tokens `[B, T]`, or vectors `[B, T, D]`, behind a cache; return the logits `[N, V]` at N of them.

    Args:
        positions: `[B, T]`.
        mask: `[B, C + T]`, 1 at places that hold something, C being what the cache holds; or `[B, 1, T, C + T]` as
            the attention implementation reads it.
        index: `[N]` places, counted through B x T.
    """
    places = {"position_ids": positions} if takes(model, "position_ids") else {}
    inputs = {"input_ids" if new.ndim == 2 else "inputs_embeds": new}
    with head_at(model, index) as applied:
        logits = model(**inputs, **places, attention_mask=mask, past_key_values=cache, use_cache=True).logits
    return logits.flatten(0, 1) if applied else logits.flatten(0, 1)[index]


def next_token(model: Any, cache: RowCache, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
    """Run one new token `[B]` of each row behind a cache; return the logits `[B, V]` of what follows it.

    Args:
        positions: `[B]`.
        mask: bool `[B, C + 1]`, True at places that hold something, C being what the cache holds.
    """
    index = torch.arange(len(tokens), device=tokens.device)
    if not cache.shared:
        return step(model, cache, tokens[:, None], positions[:, None], mask, index)
    with attention_together(model):
        return step(model, cache, tokens[:, None], positions[:, None], mask[:, None, None, cache.shared :], index)


def shares(model: Any) -> bool:
    """Return True where this loaded model continues rows behind a cached prefix as it continues each row alone.

    Tried once per attention kind, with numbers: a short and a long row, padded between prefix and suffix; then the
    short one is dropped and the long one goes a step on. `holdfast.prefix.reach` tries it on longer rows.
    """
    return agrees(model, continued, 10, False)


def continued(model: Any, length: int, one_copy: bool) -> tuple[Tensor, Tensor]:
    """Compute the attempt of `shares`, in texts of so many positions: logits of each text alone, and behind the cached prefix."""
    width = length - 6  # of the long row's own tokens, before its last step; the prefix takes 5 places
    tokens = random_tokens(model, length - 2)
    prompt, device = embed(model, None, tokens[:2])[0], model.device
    alone = []
    for count in (5, length - 3, length - 2):
        inputs = embed(model, prompt, tokens[:count])
        last = torch.tensor([inputs.shape[1] - 1], device=device)
        with head_at(model, last) as applied:
            logits = model(inputs_embeds=inputs, use_cache=False).logits[0]
        alone.append(logits[0 if applied else -1])
    cache = prefill(model, prompt, tokens[:3]).open(rows=2, room=width + 1, one_copy=one_copy)
    padding = [0] * (width - 2)
    mask = torch.tensor([[1] * 5 + padding + [1, 1], [1] * (5 + width)], device=device)
    positions = torch.tensor([[*padding, 5, 6], list(range(5, 5 + width))], device=device)
    suffixes = torch.tensor([[*padding, *tokens[3:5]], tokens[3 : 3 + width]], device=device)
    first = step(model, cache, suffixes, positions, mask, positions.new_tensor([width - 1, 2 * width - 1]))
    # Dropping the short row moves the long one to its slot: a cache that is not really moved gives itself away here.
    cache.keep([1])
    last = suffixes.new_tensor([tokens[3 + width]])
    then = next_token(model, cache, last, positions[1:, -1] + 1, mask.new_ones(1, length, dtype=torch.bool))
    return torch.stack(alone), torch.cat([first, then])

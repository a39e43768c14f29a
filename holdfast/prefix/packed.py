"""Many rows in one forward: soft prompts and shared beginnings are computed once, the LM head at label places only.

One plain forward of the model as transformers wrote it, with a 4-D mask and explicit positions. There is no cache, so
gradient checkpointing and sharding, which know nothing of prefixes, cannot lose one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from holdfast.prefix.attached import (
    Attached,
    Prompt,
    as_attached,
    by_updates,
    check_not_recomputed,
    constant,
    in_order,
    updated,
)
from holdfast.prefix.attention import masks
from holdfast.prefix.attention.tree_attention import Paths, attention_by_path, of_row
from holdfast.prefix.packing import Packed, pack
from holdfast.row import Row

MULTIPLE = 8  # Attention kernels want the mask's last axis to be a multiple of this.
COPIES = 8  # Keys and values of a prompt that is long beside its rows would be copied more often: too much memory.


def label_logits(
    model: Any,
    rows: Sequence[Row],
    prompts: Sequence[Prompt],
    budget: int | None = None,
    *,
    by_path: bool = False,
    read: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Return logits at the label places: rows as given, label places ascending.

    Args:
        model: A transformers model that takes a 4-D mask (`PrefixModel` finds out).
        rows: N labels in all.
        prompts: What `Row.prompt` counts: soft prompts [P, D], or whatever is attached.
        budget: The longest packed row, in places; without it, packed rows are as long as is cheapest.
        by_path: Attention may go along paths, in one packed row (see `holdfast.prefix.attention.tree_attention`; `PrefixModel` finds out).
        read: What is read of a packed row at its labels: `forward` (logits, if none is given) or `states`.

    Returns:
        [N, V]

    Raises:
        ValueError: a row predicts its first token from nothing.
    """
    width = model.get_input_embeddings().weight.shape[1]
    lengths = [as_attached(prompt).soft for prompt in prompts]
    read = read or forward
    groups, parts = by_updates(rows, prompts), []
    for prompt, numbers in groups:
        group = [rows[number] for number in numbers]
        with updated(model, prompt):
            # Without a budget everything goes into one packed row, which computes each prompt once and pads nothing.
            layout = pack(group, lengths) if by_path else None
            paths = None if layout is None else of_row(layout.end)
            if layout is None or paths is None or paths.copies > COPIES:
                layout, paths = pack(group, lengths, budget, MULTIPLE, width).to(model.device), None
            parts.append(read(model, layout, prompts, paths))
    return in_order(rows, [numbers for _, numbers in groups], parts)


def forward(model: Any, packed: Packed, prompts: Sequence[Prompt], paths: Paths | None = None) -> Tensor:
    """Return the logits [N, V] at the labels of packed rows, behind what is attached to them."""
    inputs = _inputs(model, packed, [as_attached(prompt) for prompt in prompts], paths)
    with head_at(model, packed.label_index) as applied, _attention(model, paths):
        logits = model(**inputs).logits.flatten(0, 1)
    return logits if applied else logits[packed.label_index]


def states(model: Any, packed: Packed, prompts: Sequence[Prompt], paths: Paths | None = None) -> Tensor:
    """Return the hidden states [N, D] before the LM head at the labels of packed rows, behind what is attached to them."""
    inputs = _inputs(model, packed, [as_attached(prompt) for prompt in prompts], paths)
    with seen_by_head(model) as seen, _attention(model, paths):
        model(**inputs)
    return seen[0][packed.label_index.to(seen[0].device)]


label_states = partial(label_logits, read=states)
"""`label_logits` before the LM head: the hidden states [N, D] that it reads at the label places."""


def _attention(model: Any, paths: Paths | None) -> AbstractContextManager[None]:
    return nullcontext() if paths is None else attention_by_path(model)


def _inputs(model: Any, packed: Packed, prompts: Sequence[Attached], paths: Paths | None) -> dict[str, Any]:
    """Return what the model's own forward is called with: vectors, mask, positions and, behind deep prefixes, their cache."""
    inputs = embed(model, packed, prompts)
    attention, positions = model.config._attn_implementation, packed.positions
    deep = [prompt.deep for prompt in prompts]
    plain = {"inputs_embeds": inputs, "position_ids": positions, "use_cache": False}
    if paths is not None:
        assert not any(deep), "keys of a deep prefix are in nobody's path"
        # A mask of the right shape keeps the model from making its own.
        unread = torch.ones((), dtype=torch.bool, device=inputs.device).expand(1, 1, *packed.end.shape[1:] * 2)
        return {**plain, "attention_mask": unread, "paths": paths}
    if not any(deep):
        return {**plain, "attention_mask": masks.for_attention(attention, packed.end, inputs.dtype)}
    check_not_recomputed(model)
    # There is no block mask with a cache: flex_attention reads the additive one too.
    mask = masks.for_attention("eager" if attention == "flex_attention" else attention, packed.end, inputs.dtype)
    return {
        "inputs_embeds": inputs,
        "attention_mask": masks.with_prefixes(mask, packed.prompt, deep),
        "position_ids": positions + positions.new_tensor([*deep, 0])[packed.prompt],  # -1, no prompt, is the last: 0
        "past_key_values": constant(prompts),
        "use_cache": True,
    }


def embed(model: Any, packed: Packed, prompts: Sequence[Attached]) -> Tensor:
    """Return the model's input [R, S, D]: word embeddings, and the soft prompts' vectors in their places."""
    words = model.get_input_embeddings()(packed.tokens)
    if not len(packed.soft_index):
        return words
    vectors = torch.cat([prompt.vectors for prompt in prompts if prompt.vectors is not None]).to(words)[
        packed.soft_source
    ]
    return words.flatten(0, 1).index_copy(0, packed.soft_index, vectors).view_as(words)


@contextmanager
def head_at(model: Any, label_index: Tensor) -> Iterator[bool]:
    """Show the LM head the hidden states at the flat places [N] only, as [1, N, D], within the context.

    Yields False, and changes nothing, where the model names no head.
    """
    head = model.get_output_embeddings()
    if head is None:
        yield False
        return

    def pick(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = inputs
        # The head of a model that is spread over devices may be on another one.
        return hidden.flatten(0, 1)[label_index.to(hidden.device)].unsqueeze(0), *rest

    # A hook on the head, so that whatever the model does with logits afterwards (scaling, soft-capping) is still done.
    handle = head.register_forward_pre_hook(pick)
    try:
        yield True
    finally:
        handle.remove()


@contextmanager
def seen_by_head(model: Any) -> Iterator[list[Tensor]]:
    """Keep the hidden states that reach the LM head, as [positions, D], within the context; yields the list that gets them."""
    seen: list[Tensor] = []

    def keep(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = inputs
        seen.append(hidden.flatten(0, 1))
        # The head works on one position only: its product with all of them, the most expensive one, is not wanted here.
        return hidden[:1, :1].detach(), *rest

    handle = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()

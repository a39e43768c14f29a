"""Many rows in one forward: soft prompts and shared beginnings are computed once, the LM head at label places only.

One plain forward of the model as transformers wrote it, with a 4-D mask and explicit positions. There is no cache, so
gradient checkpointing and sharding, which know nothing of prefixes, cannot lose one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from holdfast.prefix import masks
from holdfast.prefix.packing import Packed, pack
from holdfast.rows import Row

MULTIPLE = 8  # Attention kernels want the mask's last axis to be a multiple of this.


def label_logits(model: Any, rows: Sequence[Row], prompts: Sequence[Tensor], budget: int | None = None) -> Tensor:
    """Logits at the label places: rows as given, label places ascending.

    Args:
        model: A transformers model that takes a 4-D mask (`PrefixModel` finds out).
        rows: N labels in all.
        prompts: Soft prompts, each [P, D].
        budget: The longest packed row, in places; without it, packed rows are as long as is cheapest.

    Returns:
        [N, V]

    Raises:
        ValueError: a row predicts its first token from nothing.
    """
    width = model.get_input_embeddings().weight.shape[1]
    packed = pack(rows, [len(prompt) for prompt in prompts], budget, MULTIPLE, width)
    return forward(model, packed.to(model.device), prompts)


def forward(model: Any, packed: Packed, prompts: Sequence[Tensor]) -> Tensor:
    """Packed rows behind soft prompts, each [P, D] -> logits [N, V]."""
    inputs = embed(model, packed, prompts)
    mask = masks.for_attention(model.config._attn_implementation, packed.end, inputs.dtype)
    with head_at(model, packed.label_index) as applied:
        logits = model(inputs_embeds=inputs, attention_mask=mask, position_ids=packed.positions, use_cache=False).logits
    logits = logits.flatten(0, 1)
    return logits if applied else logits[packed.label_index]


def embed(model: Any, packed: Packed, prompts: Sequence[Tensor]) -> Tensor:
    """The model's input [R, S, D]: word embeddings, and the soft prompts' vectors in their places."""
    words = model.get_input_embeddings()(packed.tokens)
    if not len(packed.soft_index):
        return words
    vectors = torch.cat(list(prompts)).to(words)[packed.soft_source]
    return words.flatten(0, 1).index_copy(0, packed.soft_index, vectors).view_as(words)


@contextmanager
def head_at(model: Any, label_index: Tensor) -> Iterator[bool]:
    """Within, the LM head sees the hidden states at the flat places [N] only, as [1, N, D].

    A hook on the head, so that whatever the model does with logits afterwards (scaling, soft-capping) is still done.
    Yields False, and changes nothing, where the model names no head.
    """
    head = model.get_output_embeddings()
    if head is None:
        yield False
        return

    def pick(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = inputs
        return hidden.flatten(0, 1)[label_index].unsqueeze(0), *rest

    handle = head.register_forward_pre_hook(pick)
    try:
        yield True
    finally:
        handle.remove()

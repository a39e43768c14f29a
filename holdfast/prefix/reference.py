"""Every row on its own behind its soft prompt: slow, and obviously right.

What the other implementations are tested against, and the way for models that cannot take a mask of our making: those
without attention, those whose positions come from the mask, and those with an encoder. Rows of equal shape go together,
so that nothing is ever padded.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.models.describe import decoder_start
from holdfast.prefix.attached import Attached, Prompt, check_not_recomputed, constant, of, updated
from holdfast.prefix.cache import takes
from holdfast.prefix.packing import label_places
from holdfast.row import Row


def label_logits(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt]) -> Tensor:
    """Logits at the label places: rows as given, label places ascending.

    Args:
        model: A transformers model. With an encoder, the soft prompt and a row's first tokens (`Row.boundary`) are encoded,
            and the decoder predicts the others.
        rows: N labels in all, at least one.
        prompts: What `Row.prompt` counts: soft prompts [P, D], or whatever is attached.

    Returns:
        [N, V]

    Raises:
        ValueError: a row predicts its first token from nothing.
    """
    encodes = bool(model.config.is_encoder_decoder)
    groups: dict[tuple[int | None, int, int], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        places = label_places(row, 0 if row.prompt is None else of(prompts[row.prompt]).soft)
        if places:
            groups[row.prompt, len(row.tokens), row.boundary if encodes else 0].append(number)
    picked: dict[int, Tensor] = {}
    for (prompt, _, first), members in groups.items():
        tokens = torch.tensor([rows[number].tokens for number in members], device=model.device)
        given = of(None if prompt is None else prompts[prompt])
        with updated(model, given):
            logits = (_decoded if encodes else _continued)(model, tokens, given, first)
        picked |= {number: line[rows[number].labels] for number, line in zip(members, logits, strict=True)}
    return torch.cat([picked[number] for number in sorted(picked)])


def _continued(model: Any, tokens: Tensor, prompt: Attached, first: int) -> Tensor:
    """Tokens [B, T] behind the prompt -> logits [B, T, V], each of predicting the token at its place."""
    inputs = _embed(model, tokens, prompt.vectors)
    behind: dict[str, Any] = {"use_cache": False}
    if prompt.layers:
        check_not_recomputed(model)
        end = prompt.deep + inputs.shape[1]
        behind = {"use_cache": True, "past_key_values": constant([prompt])}
        behind |= {"attention_mask": tokens.new_ones(len(tokens), end)}
        if takes(model, "position_ids"):
            behind |= {"position_ids": torch.arange(prompt.deep, end, device=tokens.device)[None]}
    logits = model(inputs_embeds=inputs, **behind).logits
    return logits.roll(1, dims=1)[
        :, -tokens.shape[1] :
    ]  # With P = 0 the first is meaningless, and no label stands there.


def _decoded(model: Any, tokens: Tensor, prompt: Attached, first: int) -> Tensor:
    """Tokens [B, T], the first ones encoded behind the prompt, the rest decoded -> logits [B, T, V], 0 if encoded."""
    assert not prompt.layers, "a deep prefix is for models without an encoder"
    inputs, target = _embed(model, tokens[:, :first], prompt.vectors), tokens[:, first:]
    start = torch.full_like(target[:, :1], decoder_start(model))
    shifted = torch.cat([start, target[:, :-1]], dim=1)
    logits = model(inputs_embeds=inputs, decoder_input_ids=shifted, use_cache=False).logits
    return torch.cat([logits.new_zeros(len(tokens), first, logits.shape[-1]), logits], dim=1)


def _embed(model: Any, tokens: Tensor, prompt: Tensor | None) -> Tensor:
    """[B, T] -> [B, P + T, D]"""
    inputs = model.get_input_embeddings()(tokens)
    return inputs if prompt is None else torch.cat([prompt.to(inputs).expand(len(tokens), -1, -1), inputs], dim=1)

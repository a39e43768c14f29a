"""Every row on its own behind its soft prompt: slow, and obviously right.

What the other implementations are tested against, and the way for models that cannot take a mask of our making: those
without attention, those whose positions come from the mask, and those with an encoder; also for rows too long for one. Rows
of equal shape go together, so that nothing is ever padded. The LM head runs at label places only.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from holdfast.models.architecture import architecture_of
from holdfast.models.describe import decoder_start
from holdfast.prefix.attached import Attached, Prompt, as_attached, check_not_recomputed, constant, updated
from holdfast.prefix.packed import head_at, seen_by_head
from holdfast.prefix.packing import label_places
from holdfast.prefix.probe import takes
from holdfast.row import Row


def label_logits(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt]) -> Tensor:
    """Return logits at the label places: rows as given, label places ascending.

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
    return _computed(model, rows, prompts, before_head=False)


def label_states(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt]) -> Tensor:
    """Return `label_logits` before the LM head: the hidden states [N, D] that it reads at the label places."""
    return _computed(model, rows, prompts, before_head=True)


def _computed(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt], before_head: bool) -> Tensor:
    architecture = architecture_of(model)
    # Rows of equal shape go through in one forward, unpadded: no mask is needed, hence none can be wrong.
    groups: dict[tuple[int | None, int, int], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        places = label_places(row, 0 if row.prompt is None else as_attached(prompts[row.prompt]).soft)
        if places:
            # What nothing is predicted from is left out: the last label, and what follows it.
            length = places[-1] if architecture.one_sequence else len(row.tokens)
            groups[row.prompt, length, architecture.encoded(row)].append(number)
    picked: dict[int, Tensor] = {}
    for (prompt, length, first), members in groups.items():
        tokens = torch.tensor(
            [rows[number].tokens[:length] for number in members], dtype=torch.long, device=model.device
        )
        attached = as_attached(None if prompt is None else prompts[prompt])
        # The place that predicts a token: the one before it, behind the soft prompt; the decoder's own start token, where there is one.
        size, before = length - first, -first
        if architecture.one_sequence:
            size, before = attached.soft + length, attached.soft - 1
        flat: list[int] = []
        for slot, number in enumerate(members):
            flat += [slot * size + before + label for label in rows[number].labels]
        index = torch.tensor(flat, device=model.device)
        with updated(model, attached):
            if before_head:
                with seen_by_head(model) as seen:
                    _run(model, tokens, attached, first)
                predicted = seen[0][index]
            else:
                with head_at(model, index) as applied:
                    logits = _run(model, tokens, attached, first).flatten(0, 1)
                predicted = logits if applied else logits[index]
        picked |= dict(zip(members, predicted.split([len(rows[number].labels) for number in members]), strict=True))
    return torch.cat([picked[number] for number in sorted(picked)])


def _run(model: Any, tokens: Tensor, prompt: Attached, first: int) -> Tensor:
    """Tokens [B, T] behind the prompt, the first ones encoded where the model encodes -> what the model makes of them."""
    architecture = architecture_of(model)
    if not architecture.one_sequence:
        assert not prompt.layers, "a deep prefix is for models without an encoder"
        inputs, target = _embed(model, tokens[:, :first], prompt.vectors), tokens[:, first:]
        start = torch.full_like(target[:, :1], decoder_start(model))
        shifted = torch.cat([start, target[:, :-1]], dim=1)
        return model(inputs_embeds=inputs, **architecture.decoder_inputs(shifted), use_cache=False).logits
    inputs = _embed(model, tokens, prompt.vectors)
    options: dict[str, Any] = {"use_cache": False}
    if prompt.layers:
        check_not_recomputed(model)
        end = prompt.deep + inputs.shape[1]
        # The cache holds Q positions more than the inputs have, and the mask must cover both.
        options = {"use_cache": True, "past_key_values": constant([prompt])}
        options |= {"attention_mask": tokens.new_ones(len(tokens), end)}
        # Explicit: counted from 0 the row would stand at the positions of its prefix.
        if takes(model, "position_ids"):
            options |= {"position_ids": torch.arange(prompt.deep, end, device=tokens.device)[None]}
    return model(inputs_embeds=inputs, **options).logits


def _embed(model: Any, tokens: Tensor, prompt: Tensor | None) -> Tensor:
    """Return the input vectors [B, P + T, D] of tokens [B, T] behind a soft prompt."""
    inputs = model.get_input_embeddings()(tokens)
    return inputs if prompt is None else torch.cat([prompt.to(inputs).expand(len(tokens), -1, -1), inputs], dim=1)

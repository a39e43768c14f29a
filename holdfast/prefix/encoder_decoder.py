"""Rows whose input an encoder reads: each different input is encoded once, and inputs of about one length together.

An encoder looks both ways, so that what inputs begin with is another thing in each of them: a soft prompt, or common
demonstrations, cannot be computed once for several inputs. What can is a whole input: the choices of one question share
its encoder states. Inputs and answers are padded at their ends; encoder and decoder do not see the padding, and where a
place stands does not depend on it.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from holdfast.models.describe import decoder_start
from holdfast.prefix import reference
from holdfast.prefix.attached import Prompt, as_attached, by_updates, in_order, updated
from holdfast.prefix.cache import embed
from holdfast.prefix.packed import head_at, seen_by_head
from holdfast.prefix.packing import label_places
from holdfast.prefix.probe import random_tokens
from holdfast.row import Row

WASTE = 256  # Padded places that one more forward would cost, about.

Compute = Callable[[Any, "Encoded", Tensor, Tensor], Tensor]
Source = tuple[int | None, tuple[Hashable, ...]]  # a soft prompt's number, the key of what stands behind it


@dataclass(frozen=True, slots=True)
class Encoded:
    """The encoder's output for B inputs: `states` [B, S, D], and `mask` [B, S] with 0 at the padding."""

    states: Tensor
    mask: Tensor

    def take(self, rows: Tensor) -> "Encoded":
        """Return these rows, in this order, as often as they are named."""
        return Encoded(self.states[rows], self.mask[rows])


def label_logits(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt]) -> Tensor:
    """Return logits at the label places: rows as given, label places ascending. The decoder sees `Row.tokens` from the boundary on.

    Args:
        model: A transformers model with an encoder.
        rows: N labels in all, at least one.
        prompts: What `Row.prompt` counts: soft prompts [P, D], or whatever is attached.

    Returns:
        [N, V]

    Raises:
        ValueError: a row is predicted from nothing.
    """
    return _in_groups(model, rows, prompts, _logits)


def label_states(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt]) -> Tensor:
    """Return `label_logits` before the LM head: the hidden states [N, D] that it reads at the label places."""
    return _in_groups(model, rows, prompts, _states)


def _in_groups(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt], read: Compute) -> Tensor:
    groups, parts = by_updates(rows, prompts), []
    for prompt, numbers in groups:
        with updated(model, prompt):
            parts.append(_computed(model, [rows[number] for number in numbers], prompts, read))
    return in_order(rows, [numbers for _, numbers in groups], parts)


def encode(model: Any, inputs: Sequence[Sequence[int]], vectors: Sequence[Tensor | None]) -> Encoded:
    """Encode inputs of T tokens each side by side, every one behind its own soft prompt [P, D] or none."""
    embeds = [embed(model, prompt, tokens)[0] for tokens, prompt in zip(inputs, vectors, strict=True)]
    padded = torch.nn.utils.rnn.pad_sequence(embeds, batch_first=True)
    lengths = torch.tensor([len(vectors) for vectors in embeds], device=padded.device)
    mask = (torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]).long()
    return Encoded(model.get_encoder()(inputs_embeds=padded, attention_mask=mask).last_hidden_state, mask)


def decode(model: Any, encoded: Encoded, tokens: Tensor, **cache: Any) -> Tensor:
    """Return the logits [B, T, V] behind each decoder token [B, T], as the model's own forward gives them."""
    outputs = BaseModelOutput(last_hidden_state=encoded.states)  # pyright: ignore[reportArgumentType]
    return model(encoder_outputs=outputs, attention_mask=encoded.mask, decoder_input_ids=tokens, **cache).logits


def _computed(model: Any, rows: Sequence[Row], prompts: Sequence[Prompt], compute: Compute) -> Tensor:
    lengths = [as_attached(prompt).soft for prompt in prompts]
    owners: dict[Source, list[int]] = {}
    for number, row in enumerate(rows):
        if label_places(row, 0 if row.prompt is None else lengths[row.prompt]):
            assert row.labels[0] >= row.boundary, f"{row.name}: a label that the encoder reads"
            owners.setdefault((row.prompt, row.key[: row.boundary]), []).append(number)
    picked: dict[int, Tensor] = {}
    for sources in _alike(rows, owners, lengths):
        members = list(chain.from_iterable(owners[source] for source in sources))
        vectors = [None if prompt is None else as_attached(prompts[prompt]).vectors for prompt, _ in sources]
        inputs = [rows[owners[source][0]] for source in sources]
        encoded = encode(model, [row.tokens[: row.boundary] for row in inputs], vectors)
        # Each row's decoder reads its input's states: an input with several answers is encoded once and repeated here.
        answers = torch.tensor([len(owners[source]) for source in sources])
        which = torch.arange(len(sources)).repeat_interleave(answers).to(model.device)
        predicted = compute(model, encoded.take(which), *_decoder_input(model, [rows[number] for number in members]))
        counts = [len(rows[number].labels) for number in members]
        picked |= dict(zip(members, predicted.split(counts), strict=True))
    return torch.cat([picked[number] for number in sorted(picked)])


def _alike(rows: Sequence[Row], owners: dict[Source, list[int]], lengths: Sequence[int]) -> Iterator[list[Source]]:
    """Yield batches of sources by length, each until its padding, or its answers', would cost more than another forward."""

    def input_length(source: Source) -> int:
        return len(source[1]) + (0 if source[0] is None else lengths[source[0]])

    def answers(source: Source) -> list[int]:
        return [rows[number].labels[-1] + 1 - rows[number].boundary for number in owners[source]]

    batch: list[Source] = []
    inputs = outputs = (0, 0, 0)
    for source in sorted(owners, key=lambda source: (input_length(source), max(answers(source)))):
        sizes = [input_length(source)], answers(source)
        inputs, outputs = _grown(inputs, sizes[0]), _grown(outputs, sizes[1])
        padding = sum(count * longest - total for count, total, longest in (inputs, outputs))
        if batch and padding > max(WASTE, (inputs[1] + outputs[1]) // 8):
            yield batch
            batch, inputs, outputs = [], _grown((0, 0, 0), sizes[0]), _grown((0, 0, 0), sizes[1])
        batch.append(source)
    if batch:
        yield batch


def _grown(sizes: tuple[int, int, int], more: Sequence[int]) -> tuple[int, int, int]:
    """Return the number of lengths, their sum, and the longest, with some more of them."""
    count, total, longest = sizes
    return count + len(more), total + sum(more), max(longest, *more)


def _decoder_input(model: Any, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Return what the decoder reads [B, T], padded, and the flat positions [N] that predict the rows' labels."""
    begin = decoder_start(model)
    seen = [(begin, *row.tokens[row.boundary : row.labels[-1]]) for row in rows]
    width = max(map(len, seen))
    tokens = torch.tensor([[*line, *[begin] * (width - len(line))] for line in seen], device=model.device)
    # The decoder's inputs are shifted by its start token, so that the label's own slot is the one that predicts it.
    flat: list[int] = []
    for number, row in enumerate(rows):
        flat += [number * width + label - row.boundary for label in row.labels]
    return tokens, torch.tensor(flat, device=model.device)


def _logits(model: Any, encoded: Encoded, tokens: Tensor, index: Tensor) -> Tensor:
    """Return the logits [N, V] at flat positions `index`."""
    with head_at(model, index) as applied:
        logits = decode(model, encoded, tokens, use_cache=False).flatten(0, 1)
    return logits if applied else logits[index]


def _states(model: Any, encoded: Encoded, tokens: Tensor, index: Tensor) -> Tensor:
    """Return the states [N, D] before the LM head at flat positions `index`."""
    with seen_by_head(model) as seen:
        decode(model, encoded, tokens, use_cache=False)
    return seen[0][index]


def padded_and_alone(model: Any) -> tuple[Tensor, Tensor]:
    """Compute the probe of `probe.agrees`: short and long inputs and answers behind a soft prompt, each alone and all together."""
    tokens = random_tokens(model, 24)
    prompt = embed(model, None, tokens[:3])[0]
    rows = []
    for first, boundary, end in ((3, 5, 7), (3, 5, 6), (10, 3, 7), (13, 9, 11)):
        line = tuple(tokens[first : first + end])
        weights = tuple(float(position >= boundary) for position in range(end))
        rows.append(Row(line, weights, prompt=0, encoded=boundary))
    return reference.label_logits(model, rows, [prompt]), label_logits(model, rows, [prompt])

"""Answers of a model with an encoder: each input is encoded once, then many answers are written side by side.

Inputs of about one length go together, padded at their ends; a finished answer leaves the batch, with its encoder states.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from holdfast.models.architecture import architecture_of
from holdfast.models.describe import decoder_start
from holdfast.prefix import reference
from holdfast.prefix.attached import Prompt, as_attached
from holdfast.prefix.cache import Prefix, RowCache, embed
from holdfast.prefix.encoder_decoder import Encoded, decode, encode
from holdfast.prefix.probe import agrees, random_tokens
from holdfast.row import Row


@dataclass(slots=True)
class Answers:
    """B answers while they are written, as `decoder_batch.Batch` is for prompts that are continued.

    `both` holds the keys and values of what each answer has so far (`cache`), and those that each decoder layer makes of the
    encoder's states, once. `filled` counts the places of the first.
    """

    model: Any
    encoded: Encoded
    cache: RowCache
    both: EncoderDecoderCache
    filled: int = 0

    def advance(self, tokens: Tensor) -> Tensor:
        """Append a token to each answer `[B]`; return the logits `[B, V]` of what follows it."""
        self.filled += 1
        return decode(self.model, self.encoded, tokens[:, None], past_key_values=self.both, use_cache=True)[:, -1]

    def keep(self, order: Sequence[int]) -> None:
        """Make row i what row `order[i]` was, and drop the other rows."""
        self.cache.keep(order)
        self._encoder_rows(torch.tensor(order, device=self.encoded.mask.device))

    def repeat(self, times: int) -> None:
        """Make every row so many equal rows, side by side."""
        self.cache.repeat(times)
        rows = torch.arange(len(self.encoded.mask), device=self.encoded.mask.device)
        self._encoder_rows(rows.repeat_interleave(times))

    def reorder(self, order: Tensor) -> None:
        """Let row i go on with what row `order[i]` `[B]` wrote."""
        # Both answer the same input, so the encoder's states stay. The first position holds the decoder's start token.
        self.cache.reorder(order, 1)

    def _encoder_rows(self, rows: Tensor) -> None:
        self.encoded = self.encoded.take(rows)
        self.both.cross_attention_cache.batch_select_indices(rows)


def start(model: Any, inputs: Sequence[Sequence[int]], prompt: Prompt | None, room: int) -> tuple[Answers, Tensor]:
    """Encode inputs behind one soft prompt or none; return the answers, and the logits `[B, V]` of each answer's first token.

    `room` is the number of tokens that an answer can have beside its first.
    """
    encoded = encode(model, inputs, [as_attached(prompt).vectors] * len(inputs))
    cache = Prefix().open(len(inputs), room + 1)
    begun = Answers(model, encoded, cache, EncoderDecoderCache(cache, DynamicCache()))
    return begun, begun.advance(encoded.mask.new_full((len(inputs),), decoder_start(model)))


def batches(inputs: Sequence[tuple[int, ...]], soft: int, limit: int, budget: int) -> Iterator[list[tuple[int, ...]]]:
    """Yield inputs by length, longest first, in batches of at most so many positions, soft prompt and answer included."""
    # Longest first, so that a batch's first input is its width, and running out of memory shows at once.
    chosen: list[tuple[int, ...]] = []
    for tokens in sorted(inputs, key=len, reverse=True):
        if chosen and (len(chosen) + 1) * (soft + len(chosen[0]) + limit) > budget:
            yield chosen
            chosen = []
        chosen.append(tokens)
    if chosen:
        yield chosen


def writes(model: Any) -> bool:
    """Return True where answers written side by side equal those written alone; tried with numbers."""
    # Some models want a first or last token forced (mBART's language); that is left to transformers.
    settings = model.generation_config
    forced = settings.forced_bos_token_id is not None or settings.forced_eos_token_id is not None
    return not architecture_of(model).one_sequence and not forced and agrees(model, _step_by_step)


def _step_by_step(model: Any) -> tuple[Tensor, Tensor]:
    """Compute the probe: a short and a long input; after a token the short one leaves, and the long one goes two tokens on."""
    tokens = random_tokens(model, 16)
    prompt, inputs, answer = embed(model, None, tokens[:2])[0], (tokens[2:5], tokens[5:12]), tokens[12:]
    rows = [Row((*read, *answer), (*[0.0] * len(read), *[1.0] * 4), 0, encoded=len(read)) for read in inputs]
    alone = reference.label_logits(model, rows, [prompt]).view(2, 4, -1)
    begun, first = start(model, inputs, prompt, room=3)
    second = begun.advance(begun.encoded.mask.new_tensor([answer[0]] * 2))
    begun.keep([1])
    rest = [begun.advance(begun.encoded.mask.new_tensor([token])) for token in answer[1:3]]
    return torch.cat([alone[:, 0], alone[:, 1], alone[1, 2:]]), torch.cat([first, second, *rest])

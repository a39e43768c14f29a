"""Continue many prompts at once, exactly as each would continue alone.

What prompts have in common (a soft prompt, the same demonstrations) is computed once. Behind it stand the prompts'
own tokens, padded on the left between the two: masked out, and not counted in positions, so that neither padding nor
the company of other prompts changes a result. A finished text leaves the batch.

A model with an encoder encodes its prompts and writes answers (`holdfast.inference.encoder_decoder_batch`). Models that can do neither go
through `model.generate` in batches of equally long prompts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from holdfast.inference import beam_search, decoder_batch, encoder_decoder_batch, transformers_generate
from holdfast.inference.decoder_batch import Request
from holdfast.inference.finite import check_numbers
from holdfast.inference.stopping import Stops
from holdfast.models.describe import max_length, window
from holdfast.prefix.attached import Prompt, of, updated
from holdfast.prefix.cache import inference, prefill, shares, together
from holdfast.prefix.grouping import families

BATCH_TOKENS = 16384
Progress = Callable[[int], None]


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    stops: Stops,
    *,
    max_new_tokens: int,
    prompt: Prompt | None = None,
    num_beams: int = 1,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress | None = None,
) -> list[list[int]]:
    """The most likely continuation of each prompt: new token ids, without the end-of-sequence token.

    With one beam it is the greedy one; with more, what beam search finds (length penalty 1, no early stopping: a
    search goes on until no running beam can beat the worst finished one). A text also ends at `max_new_tokens` and at
    the token that completes a stop string, which is the last of the returned ones. Sampling, penalties and forced
    tokens that a model's `generation_config.json` asks for are not applied.

    Args:
        prompts: Token ids; at least one each.
        prompt: A soft prompt `[P, D]`, or whatever is attached before every prompt.
        batch_tokens: The most places (rows x their length, prefix and new tokens included) computed together.
        progress: Called with the number of prompts finished since the last call.

    Raises:
        ValueError: a prompt is empty, or does not fit the model together with the soft prompt and the new tokens.
    """
    assert max_new_tokens >= 1, max_new_tokens
    assert num_beams >= 1, num_beams
    _check(model, prompts, max_new_tokens, 0 if prompt is None else len(prompt))
    places: dict[tuple[int, ...], list[int]] = {}
    for place, tokens in enumerate(prompts):
        places.setdefault(tuple(tokens), []).append(place)
    results: list[list[int]] = [[] for _ in prompts]
    asked = Request(stops, max_new_tokens, prompt, num_beams, batch_tokens // num_beams)
    with inference(model):
        way = (
            _shared
            if shares(model)
            else _encoded
            if encoder_decoder_batch.writes(model)
            else transformers_generate.generate
        )
        with updated(model, of(prompt)):
            for tokens, new in way(model, list(places), asked):
                for place in places[tokens]:
                    results[place] = list(new)
                if progress:
                    progress(len(places[tokens]))
    return results


def _check(model: Any, prompts: Sequence[Sequence[int]], new: int, soft: int) -> None:
    limit = max_length(model)
    for number, tokens in enumerate(prompts, 1):
        if not tokens:
            raise ValueError(f"prompt {number} has no tokens; begin it with a beginning-of-sequence token or some text")
        if soft + len(tokens) + new > limit and not model.config.is_encoder_decoder:
            raise ValueError(
                f"prompt {number} has {len(tokens)} tokens; with {soft} positions of the attached prompt and {new} new tokens that "
                f"is more than the model's {limit} positions; shorten the prompt or lower max_new_tokens"
            )


def _shared(
    model: Any, prompts: Sequence[tuple[int, ...]], asked: Request
) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """(prompt, new tokens), family by family, batch by batch."""
    for family in families([tokens[:-1] for tokens in prompts]):
        members = [prompts[i] for i in family.members]
        prefix = prefill(model, asked.prompt, members[0][: family.length])
        soft = prefix.length - family.length
        one = prefix.length > 0 and together(model, soft + max(map(len, members)) + asked.limit)
        for chosen in _batches(model, members, soft, prefix.length if one else 0, asked):
            suffixes = [tokens[family.length :] for tokens in chosen]
            begun, logits = decoder_batch.start(model, prefix, suffixes, asked.limit - 1, together=one)
            yield from zip(chosen, _found(begun, logits, asked), strict=True)


def _encoded(
    model: Any, prompts: Sequence[tuple[int, ...]], asked: Request
) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """(prompt, answer), batch by batch."""
    for chosen in encoder_decoder_batch.batches(prompts, of(asked.prompt).soft, asked.limit, asked.budget):
        begun, logits = encoder_decoder_batch.start(model, chosen, asked.prompt, asked.limit - 1)
        yield from zip(chosen, _found(begun, logits, asked), strict=True)


def _found(
    begun: decoder_batch.Batch | encoder_decoder_batch.Answers, logits: Tensor, asked: Request
) -> list[list[int]]:
    if asked.num_beams == 1:
        return greedy(begun, logits, asked)
    return beam_search.search(begun, logits, asked)


def _batches(
    model: Any, prompts: list[tuple[int, ...]], soft: int, apart: int, asked: Request
) -> Iterator[list[tuple[int, ...]]]:
    """Prompts by length, longest first, in batches within the budget; `apart` places are there once for all rows.

    A sliding window counts places, padding included. Where it is shorter than a text, only equal lengths go together.
    """
    prompts = sorted(prompts, key=len, reverse=True)
    sees = window(model)
    begin = 0
    for end in range(1, len(prompts) + 1):
        longest = soft + len(prompts[begin]) + asked.limit
        if end < len(prompts):
            equal = len(prompts[end]) == len(prompts[begin])
            places = apart + (end + 1 - begin) * (longest - apart)
            if places <= asked.budget and (equal or sees is None or longest <= sees):
                continue
        yield prompts[begin:end]
        begin = end


def greedy(
    begun: decoder_batch.Batch | encoder_decoder_batch.Answers, logits: Tensor, asked: Request
) -> list[list[int]]:
    """Take the likeliest token of each row until all have ended; new tokens by row. `logits` are `[B, V]`."""
    found: list[list[int]] = [[] for _ in logits]
    live = list(range(len(found)))
    while True:
        chosen = logits.argmax(-1)
        check_numbers(logits.gather(1, chosen[:, None]))  # A NaN counts as the greatest.
        going = []
        for place, token in enumerate(chosen.tolist()):
            tokens = found[live[place]]
            if token in asked.stops.eos:
                continue
            tokens.append(token)
            if len(tokens) < asked.limit and not asked.stops.reached(tokens):
                going.append(place)
        if not going:
            return found
        if len(going) < len(live):
            order = decoder_batch.compact(going, len(live))
            begun.keep(order)
            live, chosen = [live[place] for place in order], chosen[order]
        logits = begun.advance(chosen)

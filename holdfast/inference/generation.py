"""Continue many prompts at once, exactly as each would continue alone: greedily, by beam search, or drawn at random.

An engine says how prompts are batched and computes logits; which token follows is decided here. A finished text leaves the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

from torch import Tensor

from holdfast.inference import beam_search
from holdfast.inference.decoder_batch import compact
from holdfast.inference.engine import Continuation, Engine
from holdfast.inference.finite import check_numbers
from holdfast.inference.sampling import Sampler, Sampling
from holdfast.inference.stopping import Stops

Choose = Callable[[Tensor, Sequence[int]], Tensor]
"""The next tokens `[B]` for logits `[B, V]` of rows with these numbers."""
Seen = Callable[[int, Sequence[int]], bool]
"""Told the number of a text and its new tokens so far, after each; False ends that text."""


def generate(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    stops: Stops,
    sampling: Sampling,
    progress: Callable[[int], None] | None = None,
    seen: Seen | None = None,
) -> list[list[int]]:
    """Return the new token ids of each prompt's continuations, without the end-of-sequence token.

    With one beam it is the greedy one; with more, what beam search finds (length penalty 1, no early stopping: a search goes on until no
    running beam can beat the worst finished one). A text also ends at `max_new_tokens` and at the token that completes a stop string,
    which is the last of the returned ones. Penalties and forced tokens that a model's `generation_config.json` asks for are not applied.

    Args:
        engine: Computes logits.
        prompts: Token ids; at least one each.
        stops: The ends of a text. `Sampling.stop` is not looked at here: strings need a tokenizer.
        sampling: With N samples, those of one prompt stand side by side, and there are N times as many continuations as prompts.
        progress: Called with the number of prompts finished since the last call.
        seen: Called while texts are written, for whoever shows them as they come or ends them earlier. Not where beams are searched, or
            the model is continued by transformers: there it never hears of a text.

    Raises:
        ValueError: a prompt is empty, or does not fit the model together with what is attached and the new tokens.
    """
    # Prompts are token ids alone, so equal ids are equal prompts; rows, which may hold media, are compared by `Row.key`.
    places: dict[tuple[int, ...], list[int]] = {}
    for number, tokens in enumerate(prompts):
        places.setdefault(tuple(tokens), []).append(number)
    results: list[list[int]] = [[] for _ in range(len(prompts) * sampling.samples)]
    if not prompts:
        return results

    def told(tokens: tuple[int, ...], sample: int, new: Sequence[int]) -> bool:
        assert seen is not None
        # Equal prompts are one text, which goes on until all who asked have enough; each of them is told.
        wanted = [seen(number * sampling.samples + sample, new) for number in places[tokens]]
        return any(wanted)

    with engine.running():
        for tokens, continuations in _continued(engine, list(places), stops, sampling, told if seen else None):
            for number in places[tokens]:
                begin = number * sampling.samples
                results[begin : begin + sampling.samples] = [list(new) for new in continuations]
            if progress:
                progress(len(places[tokens]))
    return results


def _continued(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    stops: Stops,
    sampling: Sampling,
    told: Callable[[tuple[int, ...], int, Sequence[int]], bool] | None,
) -> Iterator[tuple[tuple[int, ...], list[list[int]]]]:
    """Yield (prompt, its continuations), batch by batch; `told` is called with a prompt, the number of its sample and the new tokens."""
    finished = engine.finished(prompts, stops, sampling)
    if finished is not None:
        for tokens, new in finished:
            # The samples of a prompt follow each other.
            yield tokens, [new, *(again for _, again in islice(finished, sampling.samples - 1))]
        return
    limit, times = sampling.max_new_tokens, sampling.samples
    for batch in engine.batches(prompts, limit, sampling.width):
        # The last new token is written but never read, so that it needs no room.
        begun, logits = engine.start(batch, limit - 1)
        if sampling.num_beams > 1:
            new = beam_search.search(begun, logits, stops, sampling)
        else:
            if times > 1:
                begun.repeat(times)
                logits = logits.repeat_interleave(times, 0)
            choose = Sampler(batch.prompts, sampling) if sampling.draws else likeliest
            rows = list(chain.from_iterable([(tokens, j) for j in range(times)] for tokens in batch.prompts))
            seen = None if told is None else _of_rows(told, rows)
            new = step_by_step(begun, logits, stops, limit, choose, seen)
        parts = [new[i : i + times] for i in range(0, len(new), times)]
        yield from zip(batch.prompts, parts, strict=True)


def _of_rows(
    told: Callable[[tuple[int, ...], int, Sequence[int]], bool], rows: Sequence[tuple[tuple[int, ...], int]]
) -> Seen:
    """Return a function that tells of a row by its number in the batch."""
    return lambda row, new: told(*rows[row], new)


def likeliest(logits: Tensor, rows: Sequence[int]) -> Tensor:
    """Return the likeliest token of each row `[B]` by its logits `[B, V]`; of equal ones the first."""
    return logits.argmax(-1)


def step_by_step(
    begun: Continuation, logits: Tensor, stops: Stops, limit: int, choose: Choose, seen: Seen | None = None
) -> list[list[int]]:
    """Choose a token for each row, and go on until all have ended; return new tokens by row. `logits` are `[B, V]`."""
    # By row of the beginning; `live` says which of them each present row writes to.
    written: list[list[int]] = [[] for _ in logits]
    live = list(range(len(written)))
    while True:
        chosen = choose(logits, live)
        check_numbers(logits.gather(1, chosen[:, None]))  # argmax takes a NaN for the greatest, so that it shows here.
        going = []
        for slot, token in enumerate(chosen.tolist()):
            tokens = written[live[slot]]
            if token in stops.eos:
                continue
            tokens.append(token)
            wanted = seen is None or seen(live[slot], tokens)
            if wanted and len(tokens) < limit and not stops.reached(tokens):
                going.append(slot)
        if not going:
            return written
        if len(going) < len(live):
            order = compact(going, len(live))
            begun.keep(order)
            live, chosen = [live[slot] for slot in order], chosen[order]
        logits = begun.advance(chosen)

"""Generation through `model.generate`, for models whose state is not keys and values, and for encoder-decoders.

Prompts of one length go together, so that there is no padding that a recurrent state or a position could notice. A model computes
quicker so than anew at every token (`holdfast.inference.recomputed_batch`), and only its own way of drawing would remain open.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from holdfast.inference.finite import check_numbers
from holdfast.inference.sampling import Sampling
from holdfast.inference.stopping import Stops
from holdfast.models.architecture import architecture_of
from holdfast.prefix.attached import Attached
from holdfast.prefix.cache import embed


def generate(
    model: Any, batches: Iterable[Sequence[tuple[int, ...]]], prompt: Attached, stops: Stops, sampling: Sampling
) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Yield (prompt, new tokens), batch by batch, each of equally long prompts; greedily or by beam search."""
    with _settings(model, stops, sampling):
        for chosen in batches:
            yield from zip(chosen, _batch(model, chosen, stops, prompt.vectors), strict=True)


def _batch(model: Any, prompts: Sequence[tuple[int, ...]], stops: Stops, prompt: Tensor | None) -> list[list[int]]:
    tokens = torch.tensor(prompts, device=model.device)
    if prompt is None:
        inputs, mask, read = {"input_ids": tokens}, torch.ones_like(tokens), tokens.shape[1]
    else:
        embeds = torch.cat([embed(model, prompt, row) for row in prompts])
        # Behind vectors `model.generate` returns the new tokens alone, so that none have been read.
        inputs, mask, read = {"inputs_embeds": embeds}, tokens.new_ones(embeds.shape[:2]), 0
    start = architecture_of(model).before_new(read)
    criteria = StoppingCriteriaList([_Reached(stops, start)])
    numbers = LogitsProcessorList([_Numbers()])
    output = model.generate(**inputs, attention_mask=mask, stopping_criteria=criteria, logits_processor=numbers)
    return [stops.until_end(row) for row in output[:, start:].tolist()]


class _Reached(StoppingCriteria):
    """Ends the rows that hold a stop string."""

    def __init__(self, stops: Stops, start: int) -> None:
        self.stops, self.start = stops, start

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        reached = [self.stops.reached(row) for row in input_ids[:, self.start :].tolist()]
        return torch.tensor(reached, device=input_ids.device)


class _Numbers(LogitsProcessor):
    """Leaves logits as they are, and refuses those that are none."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        check_numbers(scores)
        return scores


@contextmanager
def _settings(model: Any, stops: Stops, sampling: Sampling) -> Iterator[None]:
    """Decode plainly within the context: a model's own generation settings are left out, its special tokens excepted."""
    original = model.generation_config
    ends = sorted(stops.eos)
    model.generation_config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        num_beams=sampling.num_beams,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
        bos_token_id=original.bos_token_id,
        decoder_start_token_id=original.decoder_start_token_id,
        forced_bos_token_id=original.forced_bos_token_id,
        forced_eos_token_id=original.forced_eos_token_id,
    )
    try:
        yield
    finally:
        model.generation_config = original

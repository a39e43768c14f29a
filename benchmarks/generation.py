"""Few-shot greedy generation: holdfast's shared prefix against transformers' `generate` on left-padded batches.

The same Llama and texts, alternately in one process, from token ids to token ids: prompts behind four demonstrations
that all of them share, without and with a soft prompt. `max_difference` is the number of texts that differ; it must be 0.
"""

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from benchmarks import harness, pretrained, words
from holdfast.inference.generation import generate
from holdfast.inference.sampling import Sampling
from holdfast.inference.stopping import Stops
from holdfast.inference.transformers_engine import TransformersEngine

SHOTS, VECTORS = 4, 100
VOCABULARY, LAYERS, WIDTH = 32_000, 6, 256
THEIR_BATCH = 16


def prompts(count: int, vocabulary: int) -> list[tuple[int, ...]]:
    """Four demonstrations of 80 to 120 tokens, the same for all, and questions of 20 to 80."""
    draw = random.Random(1)

    def tokens(low: int, high: int) -> list[int]:
        return [draw.randrange(2, vocabulary) for _ in range(draw.randint(low, high))]

    shots = [token for _ in range(SHOTS) for token in tokens(80, 120)]
    return [(*shots, *tokens(20, 80)) for _ in range(count)]


def padded(
    model: Any, asked: list[tuple[int, ...]], prompt: Tensor | None, ends: list[int], new: int
) -> list[list[int]]:
    """`model.generate` as its users call it: batches in the given order, padded on the left."""
    config = GenerationConfig(do_sample=False, max_new_tokens=new, eos_token_id=ends, pad_token_id=0)
    found = []
    for begin in range(0, len(asked), THEIR_BATCH):
        batch = asked[begin : begin + THEIR_BATCH]
        width = max(map(len, batch))
        tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in batch])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
        if prompt is None:
            output = model.generate(tokens, attention_mask=mask, generation_config=config)[:, width:]
        else:  # Padding, soft prompt, text: where prompt learning is done rightly.
            embeds, soft = model.get_input_embeddings()(tokens), len(prompt)
            rows = [
                torch.cat([e[: width - len(r)], prompt, e[width - len(r) :]])
                for e, r in zip(embeds, batch, strict=True)
            ]
            mask = torch.cat([mask, mask.new_ones(len(batch), soft)], 1).sort(1).values
            output = model.generate(inputs_embeds=torch.stack(rows), attention_mask=mask, generation_config=config)
        for row in output.tolist():
            stop = next((i for i, token in enumerate(row) if token in ends), len(row))
            found.append(row[:stop])
    return found


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """Texts that all run to the limit, texts that end where they like, and those behind a soft prompt."""
    layers, width, vocabulary, count, new, rounds = (
        (2, 128, 1000, 16, 8, 1) if setup.small else (LAYERS, WIDTH, VOCABULARY, 64, 32, 3)
    )
    if setup.model:
        count, rounds = (4, 1) if setup.small else (32, 1)
        model, tokenizer = pretrained.load(setup.model)
        asked, random_ends = pretrained.translations(tokenizer, count, SHOTS), tokenizer("\n")["input_ids"]
    else:
        model, asked = words.llama(layers, width, vocabulary, spread=words.WIDE), prompts(count, vocabulary)
        random_ends = random.Random(2).sample(range(2, vocabulary), vocabulary // 20)
    soft = model.get_input_embeddings().weight[2 : 2 + VECTORS].clone()
    for name, ends, prompt in (
        (f"{new} tokens each", [0], None),
        ("ends anywhere", [0, *random_ends], None),
        (f"ends anywhere, soft prompt {VECTORS}", [0, *random_ends], soft),
    ):
        stops = Stops(None, eos=ends)

        def ours(stops: Stops = stops, prompt: Tensor | None = prompt) -> list[list[int]]:
            return generate(TransformersEngine(model, prompt, 16384), asked, stops, Sampling(max_new_tokens=new))

        def theirs(ends: list[int] = ends, prompt: Tensor | None = prompt) -> list[list[int]]:
            return padded(model, asked, prompt, ends, new)

        differ = sum(a != b for a, b in zip(ours(), theirs(), strict=True))
        timing = harness.alternate(ours, theirs, rounds)
        name = f"{setup.model.name} {name}" if setup.model else name
        yield harness.timed("few-shot generation", f"{SHOTS}-shot greedy, {count} prompts, {name}", timing, differ)


if __name__ == "__main__":
    harness.main("generation", str(__doc__).partition("\n")[0], cases)

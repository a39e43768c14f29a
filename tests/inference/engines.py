"""Token ids in, token ids out: what the tests of generation ask of a transformers model."""

from collections.abc import Callable, Sequence
from typing import Any

from holdfast.inference import generation
from holdfast.inference.sampling import Sampling
from holdfast.inference.stopping import Stops
from holdfast.inference.transformers_engine import TransformersEngine
from holdfast.prefix.attached import Prompt


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    stops: Stops,
    *,
    prompt: Prompt | None = None,
    batch_tokens: int = 16384,
    progress: Callable[[int], None] | None = None,
    **sampling: Any,
) -> list[list[int]]:
    """`holdfast.inference.generation.generate` with this model behind this prompt; `sampling` are fields of `Sampling`."""
    engine = TransformersEngine(model, prompt, batch_tokens)
    return generation.generate(engine, prompts, stops, Sampling(**sampling), progress)

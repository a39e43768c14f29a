"""Beams that end: their score counts the end-of-sequence token, as transformers' does."""

from typing import Any

import pytest
import torch

from holdfast.inference.stopping import Stops
from tests.inference import small_models
from tests.inference.engines import generate
from tests.inference.small_models import EOS, sequences
from tests.inference.test_generation import alone

PROMPTS = sequences([3, 5, 9, 4, 7, 2, 6, 8, 3, 5], seed=3)


def ending(width: float, likely: float) -> Any:
    """A model that ends its texts early, some at once and some late: its end-of-sequence token has a bias."""
    model = small_models.llama(initializer_range=width)
    head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size)
    head.weight = model.lm_head.weight
    with torch.no_grad():
        head.bias.zero_()
        head.bias[EOS] = likely
    model.lm_head = head
    return model


@pytest.mark.parametrize("num_beams", [2, 4])
@pytest.mark.parametrize(("width", "likely"), [(0.08, 1.0), (0.08, 1.5), (0.2, 3.0)])
def test_beams_that_end_at_different_lengths_equal_generate(width: float, likely: float, num_beams: int) -> None:
    """With the end token left out of a beam's score, or of its length, 4 to 6 of ten answers differ."""
    model = ending(width, likely)
    answers = generate(model, PROMPTS, Stops(None, (), eos=[EOS]), max_new_tokens=12, num_beams=num_beams)
    assert answers == [alone(model, tokens, num_beams=num_beams) for tokens in PROMPTS]
    assert len({len(answer) for answer in answers}) > 2

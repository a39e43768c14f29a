"""A GRPO step on given answers: each question computed once, against the question repeated in every sample.

The same Llama, questions, answers and advantages, alternately in one process: log-probabilities by the model and by its frozen start, the
loss, backward and the optimizer's step. `theirs` pads the answers on the right and takes logits at them only, as TRL's trainer does. The
sampling is not in it. `max_difference` is the largest of the relative differences of the first loss and of the gradients.
"""

import copy
import random
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import harness, steps, words
from benchmarks.training import compare
from holdfast.methods._policy_losses import advantages, token_losses
from holdfast.prefix.model import PrefixModel
from holdfast.prefix.packing import label_factors
from holdfast.row import Row

BETA = 0.04
VOCABULARY, LAYERS, WIDTH = 32_000, 6, 256


def answered(questions: int, samples: int, length: int, answer: int) -> list[Row]:
    """Rows of `questions` random questions of one length with `samples` random answers each, half to all of `answer` tokens long."""
    draw = random.Random(1)
    values = advantages(
        torch.tensor([[float(draw.random() < 0.5) for _ in range(samples)] for _ in range(questions)]), "group"
    )
    rows = []
    for group in range(questions):
        asked = [draw.randrange(2, VOCABULARY) for _ in range(length)]
        for sample in range(samples):
            new = [draw.randrange(2, VOCABULARY) for _ in range(draw.randint(answer // 2, answer))]
            weights = (*[0.0] * length, *[1.0] * len(new))
            factors = (float(values[group, sample]),) * len(weights)
            rows.append(Row((*asked, *new), weights, group=group, factors=factors))
    return rows


def ours(base: Any, rows: list[Row]) -> steps.Built:
    """Through `PrefixModel`, as the method does."""
    model, start = PrefixModel(copy.deepcopy(base).requires_grad_(True)).train(), PrefixModel(base)
    gained = label_factors(rows)
    assert gained is not None

    def loss() -> Tensor:
        with torch.no_grad():
            before = start(rows).token_log_likelihoods()
        return token_losses(model(rows).token_log_likelihoods(), gained, before, BETA).mean()

    return steps.step(model, loss), model


def theirs(base: Any, rows: list[Row]) -> steps.Built:
    """Through transformers' own forward of every row, question included."""
    model = copy.deepcopy(base).train().requires_grad_(True)
    width, begin = max(len(row.tokens) for row in rows), rows[0].labels[0]
    tokens = torch.tensor([[*row.tokens, *[0] * (width - len(row.tokens))] for row in rows])
    mask = torch.tensor([[1] * len(row.tokens) + [0] * (width - len(row.tokens)) for row in rows])
    predicted, seen = tokens[:, begin:], mask[:, begin:].bool()
    gained = label_factors(rows)
    assert gained is not None

    def log_p(model: Any) -> Tensor:
        kept = width - begin + 1
        logits = model(tokens, attention_mask=mask, use_cache=False, logits_to_keep=kept).logits[:, :-1]
        return -F.cross_entropy(logits[seen].float(), predicted[seen], reduction="none")

    def loss() -> Tensor:
        with torch.no_grad():
            before = log_p(base)
        return token_losses(log_p(model), gained, before, BETA).mean()

    return steps.step(model, loss), model


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """Long questions with short answers, as in classification with a context, and short questions with long answers."""
    layers, width, rounds = (2, 64, 1) if setup.small else (LAYERS, WIDTH, 3)
    base = words.llama(layers, width, VOCABULARY).eval()
    for length, answer, samples in ((16, 8, 4),) if setup.small else ((256, 16, 8), (64, 64, 8)):
        rows = answered(2, samples, length, answer)
        case = f"grpo {samples} answers of up to {answer} to 2 questions of {length}"
        yield compare(case, ours(base, rows), theirs(base, rows), rounds)


if __name__ == "__main__":
    harness.main("grpo", str(__doc__).partition("\n")[0], cases)

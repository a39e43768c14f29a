"""Log-likelihoods of rows under a model: rows in, log-likelihoods out.

What rows have in common is computed once (`holdfast.inference.prefix_scoring`), equal rows are one, and logits exist at the
predicted places only, a part at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.inference import prefix_scoring
from holdfast.inference.finite import check_numbers
from holdfast.prefix.attached import Prompt
from holdfast.prefix.packing import label_tensors
from holdfast.prefix.probe import inference
from holdfast.row import Row

PREDICTIONS = 512  # Rows of logits that are turned into float32 log-probabilities at once.


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """The log-probability (natural logarithm) of a continuation: `value`, over so many `tokens`.

    `greedy` says whether each of its tokens is the likeliest one, so that greedy generation would write it.
    """

    value: float
    greedy: bool
    tokens: int


def score(
    model: Any,
    rows: Sequence[Row],
    prompts: Sequence[Prompt] = (),
    *,
    batch_tokens: int = prefix_scoring.BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> list[LogLikelihood]:
    """Return the log-likelihood of each row's labels: the tokens that carry a weight, whatever the weight.

    Args:
        model: A transformers model.
        rows: `Row.prompt` is an index into `prompts`.
        prompts: What `Row.prompt` counts: soft prompts [P, D], or whatever is attached.
        batch_tokens: The most places computed together.
        progress: Called with the number of rows finished since the last call.

    Raises:
        ValueError: a row predicts its first token from nothing, or has more places than the model; or the model's
            predictions are not numbers.
    """
    # Equal rows are computed once; what makes them equal is all that the model sees and all that is predicted.
    distinct: dict[tuple[Any, ...], int] = {}
    numbers = [
        distinct.setdefault((row.key, tuple(row.labels), row.prompt, row.boundary), len(distinct)) for row in rows
    ]
    # Reversed, so that the first of equal rows stands for them: an error names the row that the user sees first.
    firsts = dict(zip(reversed(numbers), reversed(rows), strict=True))
    unique = [firsts[number] for number in range(len(firsts))]
    labels, _, owners = label_tensors(unique)
    counts = torch.bincount(owners, minlength=len(unique)).tolist()
    # Progress counts the caller's rows, of which several may be finished with one computed row.
    copies = torch.bincount(torch.tensor(numbers, dtype=torch.long), minlength=len(unique))
    # Progress is reported when a row's last label is done: its labels may fall into several parts.
    last = torch.cat([owners[1:] != owners[:-1], torch.ones(min(1, len(labels)), dtype=torch.bool)])
    logprobs, likeliest = torch.zeros(len(labels), dtype=torch.float64), torch.zeros(len(labels), dtype=torch.bool)
    with inference(model):
        for part in prefix_scoring.predict(model, unique, prompts, batch_tokens):
            index = part.numbers.cpu()
            wanted = labels[index].to(part.logits.device)
            values_of_part, best = _logprobs(part.logits, part.which, wanted)
            check_numbers(values_of_part)
            logprobs[index], likeliest[index] = values_of_part.cpu().double(), (best == wanted).cpu()
            if progress:
                progress(int(copies[owners[index[last[index]]]].sum()))
    values = torch.zeros(len(unique), dtype=torch.float64).index_add_(0, owners, logprobs).tolist()
    misses = torch.bincount(owners[~likeliest], minlength=len(unique)).tolist()
    return [LogLikelihood(values[i], misses[i] == 0, counts[i]) for i in numbers]


def _logprobs(logits: Tensor, which: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of wanted tokens `[n]` by predictions `logits[which]` [u, V], and each prediction's likeliest."""
    # In chunks, because float32 copies of bfloat16 logits [u, V] would take twice their memory at once.
    chunks = logits.split(PREDICTIONS)
    total = torch.cat([chunk.float().logsumexp(-1) for chunk in chunks])
    return logits[which, wanted].float() - total[which], logits.argmax(-1)[which]

"""Factors of the loss of labels: what a model says of them, and the tokens that tell one answer from the others."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.methods.base import Context
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row

AT_ONCE = 16  # Rows that pass the model together where no gradient is wanted.
FEW = 64  # Different answers of a closed set, at most.
MOST = 9.0  # The largest factor of a key token (TL-Training).
BEFORE = ("", '"', "'", "\n", "(")  # What may stand before a name in an answer.
BEST = 20  # Tokens over which the entropy is taken, and the number that scales it to about 1 (EAFT).


def log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p of each label: logits `[n, V]`, labels `[n]` -> `[n]`, in float32."""
    return -F.cross_entropy(logits.float(), labels, reduction="none")


def best_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the entropy in nats of the 20 likeliest tokens, whose probabilities are scaled to 1, over 3: `[n, V]` -> `[n]`."""
    best = logits.float().topk(min(BEST, logits.shape[-1])).values.log_softmax(-1)
    return -(best.exp() * best).sum(-1) / 3


@torch.no_grad()
def log_probabilities(model: PrefixModel, rows: Sequence[Row]) -> list[Tensor]:
    """Return log p of each row's labels, in float32 on the CPU; without dropout."""
    training = model.training
    model.eval()
    scores: list[Tensor] = []
    for begin in range(0, len(rows), AT_ONCE):
        part = rows[begin : begin + AT_ONCE]
        scores += model(part).each(log_probability).cpu().split([len(row.labels) for row in part])
    model.train(training)
    return scores


def normalised(factors: Sequence[Tensor], rows: Sequence[Row]) -> list[Tensor]:
    """Return the factors scaled so that their mean over the step's labels, by weight, is 1; all zeros stay so."""
    weights = [torch.tensor([row.weights[label] for label in row.labels]) for row in rows]
    weighed = sum(float(torch.dot(factor, weight)) for factor, weight in zip(factors, weights, strict=True))
    scale = sum(float(weight.sum()) for weight in weights) / weighed if weighed else 0.0
    return [factor * scale for factor in factors]


def names_of(candidates: str, context: Context) -> list[tuple[int, ...]]:
    """Return the candidates as token ids, in each form that they have within a text; where none are named, the different answers.

    Raises:
        ValueError: none are named, and the answers are no closed set; or no answer holds any that is named.
    """
    if candidates:
        forms: set[tuple[int, ...]] = set()
        for name in filter(None, (part.strip() for part in candidates.split(","))):
            forms |= _forms(context.pretrained.tokenizer, name)
        names = sorted(forms)
        trained = chain.from_iterable(map(answers_of, context.rows))
        if context.rows and not any(first_name(answer, names) for answer in trained):
            raise ValueError(
                f"token_weights.candidates={candidates}: no answer of the first {len(context.rows)} examples holds one of these names, "
                "so no token would weigh more; write them as the answers do"
            )
        return names
    answers = sorted({tuple(row.tokens[label] for label in row.labels) for row in context.rows if row.labels})
    if len(answers) > FEW:
        raise ValueError(
            f"token_weights.by=keys: {len(context.rows)} examples have {len(answers)} answers, so which tokens tell them apart is "
            "not known; name the tools or labels in model.candidates, by commas"
        )
    return answers


def key_factors(row: Row, names: Sequence[tuple[int, ...]]) -> Tensor:
    """Return min(others / keys, 9) for key tokens, where they are fewer than the others, else 1; and 1 for the others.

    Key tokens are, in each answer of the row, the first of a name and, for each other name, the first that tells the two apart.
    """
    keys: set[int] = set()
    begin = 0
    for answer in answers_of(row):
        if named := first_name(answer, names):
            start, gold = named
            keys.add(begin + start)
            for name in names:
                same = next((i for i in range(len(gold)) if name[i : i + 1] != gold[i : i + 1]), len(gold))
                # Where the name is the beginning of another one, the token behind it tells them apart.
                if name != gold and start + same < len(answer):
                    keys.add(begin + start + same)
        begin += len(answer)
    others = begin - len(keys)
    factor = min(others / len(keys), MOST) if 0 < len(keys) < others else 1.0
    return torch.tensor([factor if i in keys else 1.0 for i in range(begin)])


def first_name(answer: Sequence[int], names: Sequence[tuple[int, ...]]) -> tuple[int, tuple[int, ...]] | None:
    """Return where the first of the names begins in an answer, and the longest that begins there; None where it holds none."""
    for start in range(len(answer)):
        if here := [name for name in names if tuple(answer[start : start + len(name)]) == name]:
            return start, max(here, key=len)
    return None


def answers_of(row: Row) -> list[tuple[int, ...]]:
    """Return the tokens of each trained answer of a row: of a conversation there may be several, with other turns between."""
    tokens, labels = row.targets or row.tokens, row.labels
    starts = [i for i, label in enumerate(labels) if i == 0 or label != labels[i - 1] + 1]
    return [tuple(tokens[label] for label in labels[a:b]) for a, b in pairwise([*starts, len(labels)])]


def _forms(tokenizer: Any, name: str) -> set[tuple[int, ...]]:
    """Return a name's token ids as it stands in texts: its first token holds a space, or is another one behind a quote."""
    forms = set()
    for before in BEFORE:
        alone, both = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, before + name))
        if both[: len(alone)] == alone and len(both) > len(alone):
            forms.add(tuple(both[len(alone) :]))
    return forms | {tuple(tokenizer(f" {name}", add_special_tokens=False)["input_ids"])}

"""The log-likelihood of a given text: of a document, or of the right answer to a question."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.inference.language_model import LanguageModel, ReadDocument
from holdfast.tasks.text.pieces import pieces
from holdfast.tasks.text.rendered import Rendered
from holdfast.tasks.text.tokenization import encode_text

FIRST_WORD = re.compile(r"\s*\S{1,40}(?=\s)")
LOOKED_AT = 256  # characters in which the first token ends


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The log-likelihood of a target, in nats, and whether its prompt was in view whole and all of the time."""

    value: float
    truncated: bool


def read_documents(model: LanguageModel, texts: Sequence[str]) -> list[ReadDocument]:
    """Return how probable each document is behind its first word, which is read and not predicted.

    What stands before a text (a beginning token or none, a soft prompt) decides how probable its first word is, and differs between models.
    Where no space follows for long, the first token takes the word's place. Of a document that is no more, nothing is predicted.
    """
    parts = []
    for text in texts:
        end = _first_word(text, model.tokenizer)
        parts.append(Rendered(text[:end], text[end:]) if text[end:].strip() else Rendered(text, ""))
    values = log_likelihoods(model, [part for part in parts if part.target])
    rest = iter(values)
    return [ReadDocument(part.prompt, part.target, next(rest).value if part.target else 0.0) for part in parts]


def _first_word(text: str, tokenizer: Any) -> int:
    """Return the character at which the first word, or the first token, of a text ends."""
    if word := FIRST_WORD.match(text):
        return word.end()
    # A token that is split here could be predicted behind a soft prompt, and by no model without a beginning token.
    if not getattr(tokenizer, "is_fast", False):
        return 1
    _, spans, _ = encode_text(tokenizer, text[:LOOKED_AT])
    return next((end for _, end in spans if end), len(text))


def log_likelihoods(model: LanguageModel, texts: Sequence[Rendered]) -> list[Likelihood]:
    """Return the log-likelihood of each target behind its prompt.

    One that is longer than half of the model's positions is predicted in pieces, each behind the piece before it: so every token is
    predicted once, and sees from half to all of what the model can.
    """
    pairs: list[tuple[str, str]] = []
    owners: list[int] = []
    for number, text in enumerate(texts):
        parts = pieces(text.target, model.room // 2, model.count_tokens)
        pairs += zip([text.prompt, *parts], parts, strict=False)
        owners += [number] * len(parts)
    values: list[list[float]] = [[] for _ in texts]
    truncated = [False] * len(texts)
    scores = zip(owners, model.loglikelihood(pairs), model.cuts(pairs, 0), strict=True)
    for owner, score, cut in scores:
        values[owner].append(score.value)
        truncated[owner] |= cut or len(values[owner]) > 1
    return [Likelihood(math.fsum(each), cut) for each, cut in zip(values, truncated, strict=True)]

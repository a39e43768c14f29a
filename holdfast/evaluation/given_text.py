"""The log-likelihood of a given text: of a document, or of the right answer to a question."""

import math
import re
from collections.abc import Sequence

from holdfast.inference.language_model import LanguageModel
from holdfast.tasks.text.pieces import pieces
from holdfast.tasks.text.rendered import Rendered

FIRST_WORD = re.compile(r"\s*\S{1,40}(?=\s)|.", re.DOTALL)  # the first letter, where no space follows for long


def behind_its_beginning(text: str) -> Rendered:
    """Return a document as its first word, and what is predicted behind it.

    What stands before a text (a beginning token or none, a soft prompt) decides how probable its first word is, and differs between models.
    """
    first = FIRST_WORD.match(text)
    assert first is not None, "an empty document"
    return Rendered(first.group(), text[first.end() :])


def log_likelihoods(model: LanguageModel, texts: Sequence[Rendered]) -> list[float]:
    """Return the log-likelihood of each target behind its prompt, in nats.

    One that is longer than half of the model's positions is predicted in pieces, each behind the piece before it: so every token is
    predicted once, and sees from half to all of what the model can.
    """
    pairs: list[tuple[str, str]] = []
    owners: list[int] = []
    for number, text in enumerate(texts):
        parts = pieces(text.target, model.room // 2, model.count_tokens)
        pairs += zip([text.prompt, *parts], parts, strict=False)
        owners += [number] * len(parts)
    parts_of: list[list[float]] = [[] for _ in texts]
    for number, score in zip(owners, model.loglikelihood(pairs), strict=True):
        parts_of[number].append(score.value)
    return [math.fsum(values) for values in parts_of]

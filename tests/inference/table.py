"""A language model whose every answer is written down beforehand, so that what follows can be worked out on paper."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.inference.given_text import read_documents
from holdfast.inference.language_model import Progress, ReadDocument
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood


@dataclass
class TableModel:
    """`loglik` by continuation (stripped), `writes` by the question: the prompt's last line before the newline. A character is a token."""

    loglik: Mapping[str, float] = field(default_factory=dict)
    writes: Mapping[str, str] | Callable[[str], str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    tokenizer: Any = None
    room: int = 2**30

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        self.seen += [context for context, _ in pairs]
        return [LogLikelihood(self.loglik[text.strip()], False, 1) for _, text in pairs]

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        self.seen += texts
        self.limits.append(sampling.max_new_tokens)
        questions = [text.rpartition("\n\n")[2].partition("\n")[0] for text in texts]
        return [self.writes(q) if callable(self.writes) else self.writes[q] for q in questions]

    def rolling(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[float]:
        return [self.loglik[text.strip()] for text in texts]

    def documents(self, texts: Sequence[str]) -> list[ReadDocument]:
        return read_documents(self, texts)

    def first_token_mass(self, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
        return [sum(math.exp(self.loglik[answer.strip()]) for answer in own) for own in answers]

    def next_tokens(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        best = sorted(self.loglik.items(), key=lambda item: -item[1])
        return [(name, math.exp(value)) for name, value in best[:count]]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        return [len(context) + len(text) + new > self.room for context, text in pairs]

"""A language model whose every answer is written down beforehand, so that what follows can be worked out on paper."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.inference.scoring import LogLikelihood


@dataclass
class TableModel:
    """`loglik` by continuation (stripped), `writes` by the question: the prompt's last line before the newline."""

    loglik: Mapping[str, float] = field(default_factory=dict)
    writes: Mapping[str, str] | Callable[[str], str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[LogLikelihood]:
        self.seen += [context for context, _ in pairs]
        return [LogLikelihood(self.loglik[text.strip()], False, 1) for _, text in pairs]

    def generate(
        self, texts: Sequence[str], *, max_new_tokens: int, stop: Sequence[str] = (), num_beams: int = 1
    ) -> list[str]:
        self.seen += texts
        self.limits.append(max_new_tokens)
        questions = [text.rpartition("\n\n")[2].partition("\n")[0] for text in texts]
        return [self.writes(q) if callable(self.writes) else self.writes[q] for q in questions]

    def rolling(self, texts: Sequence[str]) -> list[float]:
        raise NotImplementedError

"""Contract of a language model as evaluation, curation, methods and the playground see it: text in, text out."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood

Progress = Callable[[int], None]


class LanguageModel(Protocol):
    """A model that is asked in texts. `Model` answers with a transformers model, a decoding with another one, a test from a table."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, whose `apply_chat_template` renders a conversation; None where there is none."""
        ...

    @property
    def room(self) -> int:
        """The most tokens that a text can have, its continuation included."""
        ...

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        """Return the log-likelihood of each (context, continuation)'s continuation."""
        ...

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """Return the continuations of each text, without the text; the samples of one text stand side by side."""
        ...

    def rolling(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[float]:
        """Return the log-likelihood of each whole text."""
        ...

    def first_token_mass(self, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
        """Return the probability that the first token behind a context begins one of its `answers`, delimiter included."""
        ...

    def next_tokens(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest tokens behind a text, as text, each with its probability; likeliest first."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, with those that the tokenizer puts around it."""
        ...

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        """Return True for each context that must lose its beginning to fit beside its continuation and so many new tokens."""
        ...

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
        """What renders a conversation by the model's chat template (`apply_chat_template`); None where there is no such thing."""
        ...

    @property
    def room(self) -> int:
        """How many tokens a text can have, its continuation included."""
        ...

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        """The log-likelihood of each (context, continuation)'s continuation."""
        ...

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """The continuations of each text, without the text; the samples of one text stand side by side."""
        ...

    def rolling(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[float]:
        """The log-likelihood of each whole text."""
        ...

    def first_token_mass(self, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
        """The probability that the first token behind a context begins one of its `answers`, delimiter included."""
        ...

    def next_tokens(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest tokens behind a text, as text, each with its probability; likeliest first."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, with those that the tokenizer puts around it."""
        ...

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        """Whether each context must lose its beginning to fit beside its continuation and so many new tokens."""
        ...

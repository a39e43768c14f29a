"""Contract of a language model as evaluation, curation, methods and the playground see it: text in, text out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Say of a model where its answers come from, as scores record it.

    Attributes:
        hash: The fingerprint of the weights; of a model that is not here, its name.
        dtype: The precision of the weights, where it is known.
        device: Where they are computed: a device of this machine, or `server`.
        attached: A prompt is attached.
    """

    hash: str
    dtype: str
    device: str
    attached: bool


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A document: its beginning that is `read`, what is `predicted` behind it, and the log-likelihood of that in nats."""

    read: str
    predicted: str
    value: float


def check_texts(texts: Sequence[str]) -> None:
    """Refuse a text alone, which is a sequence too: of its letters.

    Raises:
        ValueError: `texts` is one text.
    """
    if isinstance(texts, str):
        raise ValueError(f"one text in the place of several, {texts[:40]!r}; give a list: [text]")


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

    def documents(self, texts: Sequence[str]) -> list[ReadDocument]:
        """Return how probable each document is behind its first word: no prompt is written around it."""
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


class NamedModel(LanguageModel, Protocol):
    """The language model that a MODEL argument names, as `evaluate` and `generate` ask it."""

    @property
    def origin(self) -> Origin:
        """Return where its answers come from."""
        ...

    def check_ranks(self) -> None:
        """Refuse, before anything is asked, a model that gives texts and no log-likelihoods.

        Raises:
            ValueError: it does.
        """
        ...

"""The contract of a decoding: a language model around a language model, or an engine around an engine."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import ConfigDict

from holdfast.inference.engine import Engine
from holdfast.inference.language_model import LanguageModel, Progress, ReadDocument
from holdfast.inference.model import Model
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood


class Decoding:
    """Change the questions or the answers of a language model; everything else is passed on to the model inside.

    A subclass is a frozen pydantic dataclass: its fields are its configuration, checked at construction, and all have
    defaults. The first line of its docstring says what it does, and a line `Source:` where it comes from. It overrides
    the methods that it changes, and asks `self.model` in them. A decoding is a language model once it is wrapped around one.
    """

    # A field that does not exist is refused; pydantic takes this from the base class, and would ignore it otherwise.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    needs: ClassVar[tuple[str, ...]] = ()
    """Fields that the user has to set; the example of `holdfast decodings NAME` sets them."""

    model: LanguageModel
    """The model inside; there is none before `wrap`."""

    def wrap(self, model: LanguageModel) -> LanguageModel:
        """Return this technique around `model`. A technique on logits derives from `LogitsDecoding`."""
        # A copy, so that one technique can stand around several models, such as the base and the tuned one.
        wrapped = copy.copy(self)
        object.__setattr__(wrapped, "model", model)  # The dataclass is frozen; its configuration does not change.
        return wrapped

    @property
    def tokenizer(self) -> Any:
        """Return the tokenizer of the model inside."""
        return self.model.tokenizer

    @property
    def room(self) -> int:
        """Return the most tokens of a text, its continuation included."""
        return self.model.room

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        """Return the log-likelihood of each (context, continuation)'s continuation, in nats."""
        return self.model.loglikelihood(pairs, progress=progress)

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """Return the continuations of each text."""
        return self.model.generate(texts, sampling, progress=progress)

    def rolling(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[float]:
        """Return the log-likelihood of each whole text, in nats."""
        return self.model.rolling(texts, progress=progress)

    def documents(self, texts: Sequence[str]) -> list[ReadDocument]:
        """Return how probable each document is behind its first word, without a question's words around it."""
        return self.model.documents(texts)

    def first_token_mass(self, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
        """Return the probability that the first token behind a context begins one of its `answers`."""
        return self.model.first_token_mass(contexts, answers)

    def next_tokens(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest tokens behind a text, each with its probability."""
        return self.model.next_tokens(text, count)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        return self.model.count_tokens(texts)

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        """Return whether each context must lose its beginning to fit beside its continuation and `new` tokens."""
        return self.model.cuts(pairs, new)


class PromptDecoding(Decoding):
    """Ask every question in other words, whatever is asked of it: likelihoods, answers, first tokens, or whether it fits.

    A subclass says how a question is written, and perhaps an answer whose likelihood is asked for.
    """

    @abstractmethod
    def prompt(self, text: str) -> str:
        """Return a question as the model inside reads it."""

    def answer(self, text: str) -> str:
        """Return an answer as the model inside would write it; by default as it is."""
        return text

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        """Return the log-likelihood of each continuation behind its context, both in the words of the model inside."""
        return self.model.loglikelihood(self._pairs(pairs), progress=progress)

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """Return the continuations of each text, as the model inside writes them."""
        return self.model.generate([self.prompt(text) for text in texts], sampling, progress=progress)

    def first_token_mass(self, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
        """Return the probability that the first token behind a context begins one of its `answers`."""
        written = [[self.answer(answer) for answer in several] for several in answers]
        return self.model.first_token_mass([self.prompt(context) for context in contexts], written)

    def next_tokens(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest tokens behind a text, each with its probability."""
        return self.model.next_tokens(self.prompt(text), count)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text as an answer: what surrounds a question is not counted."""
        return self.model.count_tokens([self.answer(text) for text in texts])

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        """Return whether each context must lose its beginning to fit beside its continuation and `new` tokens."""
        return self.model.cuts(self._pairs(pairs), new)

    def _pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(self.prompt(context), self.answer(continuation)) for context, continuation in pairs]


class LogitsDecoding(Decoding):
    """Change the logits of a model at every token, in whatever is asked of it: likelihoods, greedy, beams or samples.

    A subclass puts an engine around the model's own: usually a `CombinedEngine`, whose `combine` makes the logits that follow from those
    of the model and, where there are any, of others.
    """

    def wrap(self, model: LanguageModel) -> LanguageModel:
        """Return the model with its engine wrapped.

        Raises:
            ValueError: the model gives texts and no logits.
        """
        if not isinstance(model, Model):
            raise ValueError(
                f"{type(self).__name__} changes logits, and this model gives texts alone; take a transformers model"
            )
        outer, inner = self.around(model), model.decode
        # The technique that is added last stands outermost, as with `Decoding.wrap` around a wrapped model.
        return replace(model, decode=outer if inner is None else lambda engine: outer(inner(engine)))

    @abstractmethod
    def around(self, model: Model) -> Callable[[Engine], Engine]:
        """Load what the technique needs beside the model, once; return a function that puts it around the model's engine."""
        # In two steps, because the engine is made anew for each call, and other models must not be loaded anew with it.

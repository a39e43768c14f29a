"""The contract of a decoding: a language model around a language model."""

import copy
from collections.abc import Sequence
from typing import Any, cast

from pydantic import ConfigDict

from holdfast.inference.model import LanguageModel
from holdfast.inference.scoring import LogLikelihood

STRICT = ConfigDict(extra="forbid")
"""Refuse a field that does not exist instead of ignoring it: `@dataclass(frozen=True, config=STRICT)`."""


class Decoding:
    """Change what a language model is asked, or how it answers; everything else is passed on to the model inside.

    A subclass is a frozen pydantic dataclass: its fields are its configuration, checked at construction, and all have
    defaults. The first line of its docstring says what it does, and a line `Source:` where it comes from. It overrides
    the methods that it changes, and asks `self.model` in them.
    """

    model: LanguageModel
    """The model inside; there is none before `wrap`."""

    def wrap(self, model: LanguageModel) -> LanguageModel:
        """Return this technique around `model`: a language model itself. A technique on logits overrides this."""
        wrapped = copy.copy(self)
        object.__setattr__(wrapped, "model", model)  # The dataclass is frozen; its configuration does not change.
        return cast(LanguageModel, wrapped)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], **options: Any) -> list[LogLikelihood]:
        """Return the log-likelihood of each continuation behind its context."""
        return self.model.loglikelihood(pairs, **options)

    def generate(self, texts: Sequence[str], **options: Any) -> list[str]:
        """Return a continuation of each text."""
        return self.model.generate(texts, **options)

    def rolling(self, texts: Sequence[str], **options: Any) -> list[float]:
        """Return the log-likelihood of each whole text."""
        return self.model.rolling(texts, **options)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the model inside, such as its tokenizer or room."""
        if name.startswith("_") or name == "model":  # Copying looks for both before there is a model.
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.model, name)

"""Conjugate prompting: ask in another spelling, and turn the answer back."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast import plugins
from holdfast.decoding.base import PromptDecoding
from holdfast.inference.language_model import Progress, ReadDocument
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.tasks.loaders.transforms import TRANSFORMS, Transform


@dataclass(frozen=True)
class Conjugate(PromptDecoding):
    """Ask in a spelling or wrapping that is far from the tuned format, and turn the answer back: undo(model(apply(prompt))).

    As a probe: what a tuned model answers in this way and not otherwise was hidden and not lost. `transform` is `leetspeak`, `pig-latin`,
    `none` (`before` and `after` alone), or `path/to/file.py:NAME`, an object with `apply(text)` and `undo(text)`, such as a translation.
    Likelihoods are those of the transformed answers. A conversation's special tokens and roles stay as they are. Costs what the
    longer texts cost: digits and hyphens make more tokens.

    Source: Kotha, Springer and Raghunathan 2024, "Understanding catastrophic forgetting in language models via implicit inference" (ICLR)
    """

    # The command line reads `none` as nothing.
    transform: str | None = Field(
        default="leetspeak", description="leetspeak, pig-latin, none, or path/to/file.py:NAME"
    )
    before: str = Field(default="", description="text before every prompt, as it is")
    after: str = Field(default="", description="text behind every prompt, as it is")

    def __post_init__(self) -> None:
        _ = self._spelling  # Refused here where there is none, and not once a model was loaded.

    @cached_property
    def _spelling(self) -> Any:
        return _spelling(self.transform or "none")

    @cached_property
    def _kept(self) -> re.Pattern[str]:
        """Match what stays as it is: special tokens, and the role behind one that opens a turn."""
        special = sorted(getattr(self.model.tokenizer, "all_special_tokens", None) or (), key=len, reverse=True)
        roles = "(?:(?:system|user|assistant|model|tool)\n)?"
        return re.compile(f"(?:{'|'.join(map(re.escape, special))}){roles}" if special else "(?!)")

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        # Both spellings: a model that falls out of the disguise stops too.
        stops = tuple(dict.fromkeys((*sampling.stop, *map(self.answer, sampling.stop))))
        answers = super().generate(texts, replace(sampling, stop=stops), progress=progress)
        return [self._spelling.undo(answer) for answer in answers]

    def rolling(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[float]:
        return self.model.rolling([self.answer(text) for text in texts], progress=progress)

    def documents(self, texts: Sequence[str]) -> list[ReadDocument]:
        return self.model.documents([self.answer(text) for text in texts])

    def prompt(self, text: str) -> str:
        """Return a question in disguise, between `before` and `after`."""
        return f"{self.before}{self.answer(text)}{self.after}"

    def answer(self, text: str) -> str:
        """Return the text in disguise, all but special tokens."""
        parts, end = [], 0
        for match in self._kept.finditer(text):
            parts += [self._spelling.apply(text[end : match.start()]), match[0]]
            end = match.end()
        return "".join([*parts, self._spelling.apply(text[end:])])


def _spelling(name: str) -> Any:
    """Return the transformation of a name, or the object in a user's file.

    Raises:
        ValueError: there is none.
    """
    if name == "none":
        return Transform("none", "as it is", str, str)
    if ".py:" not in name:
        if name not in TRANSFORMS:
            raise plugins.unknown("transformation", name, [*TRANSFORMS, "none"])
        return TRANSFORMS[name]
    path, _, symbol = name.rpartition(":")
    if not Path(path).is_file():
        raise ValueError(f"decode.transform={name}: there is no file {path}")
    spelling = getattr(plugins.run_file(Path(path)), symbol, None)
    if not all(callable(getattr(spelling, part, None)) for part in ("apply", "undo")):
        raise ValueError(
            f"decode.transform={name}: {symbol} must be an object with apply(text) and undo(text), each returning a text"
        )
    return spelling

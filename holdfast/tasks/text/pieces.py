"""Long texts in consecutive pieces that fit a model, cut between words."""

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, overload

from holdfast.tasks.task import Example

Count = Callable[[Sequence[str]], list[int]]
"""A function that gives the number of tokens of each text."""

FULL = 0.8  # Share of the room that pieces are cut to: some parts of a text have more tokens than its mean.
SPACE = re.compile(r"\s")
REACH = 64  # Characters in which a space is looked for, before a word is cut.


def pieces(text: str, most: int, count: Count) -> list[str]:
    """Return a text in pieces of at most `most` tokens, as even as its words allow; joined they are the text."""
    (tokens,) = count([text])
    if tokens <= most or len(text) < 2:
        return [text]
    number = min(len(text), max(2, round(tokens / (FULL * most))))
    cuts = sorted({_between_words(text, i * len(text) // number) for i in range(1, number)})
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return list(chain.from_iterable(pieces(part, most, count) for part in parts))


def _between_words(text: str, at: int) -> int:
    """Return the place of the first space from here on, so that it begins the next piece; here, where none is near."""
    space = SPACE.search(text, at, at + REACH)
    return space.start() if space else at


class Pieces(Sequence[Example]):
    """Documents as examples of one piece each. Of a document only the places of its pieces are held."""

    def __init__(self, documents: Sequence[Example], most: int, count: Count) -> None:
        self.documents = documents
        self._document, self._start, self._end = array("Q"), array("Q"), array("Q")
        for number, example in enumerate(documents):
            start = 0
            for piece in pieces(example.target, most, count):
                self._document.append(number)
                self._start.append(start)
                start += len(piece)
                self._end.append(start)

    def __len__(self) -> int:
        return len(self._document)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        document = self.documents[self._document[index]]
        start, end = self._start[index], self._end[index]
        return replace(document, target=document.target[start:end], unfinished=end < len(document.target))


def counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text, with those that the tokenizer puts around it."""
    return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]] if texts else []

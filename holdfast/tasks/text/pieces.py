"""Long texts in consecutive pieces that fit a model, cut between words."""

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, overload

import numpy as np

from holdfast.tasks.task import Example, Template

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
    """Examples of which each document that is longer than `most` tokens is several, a piece each; others are as they are.

    First come the first pieces of all, then the second ones: of the first few examples no document is more than one, so that they say
    something of all. Only the places of pieces are held. `template` is that of examples without their own.
    """

    def __init__(self, examples: Sequence[Example], template: Template, most: int, count: Count) -> None:
        self.examples = examples
        numbers, turns, starts, ends = array("Q"), array("Q"), array("Q"), array("Q")
        for number, example in enumerate(examples):
            whole, start = not (example.template or template).asks_nothing, 0
            for turn, piece in enumerate([example.target] if whole else pieces(example.target, most, count)):
                numbers.append(number)
                turns.append(turn)
                starts.append(start)
                start += len(piece)
                ends.append(start)
        order = np.lexsort((numbers, turns))
        self._numbers, self._turns, self._starts, self._ends = (
            np.array(each)[order] for each in (numbers, turns, starts, ends)
        )

    def name(self, index: int) -> str:
        """Return the number of the example, and of the piece where it is not the first."""
        turn = int(self._turns[index])
        return f"[{self._numbers[index]}]" + (f", piece {turn + 1}" if turn else "")

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        start, end = int(self._starts[index]), int(self._ends[index])
        example = self.examples[int(self._numbers[index])]
        if (start, end) == (0, len(example.target)):
            return example
        return replace(example, target=example.target[start:end], unfinished=end < len(example.target))


def counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text, with those that the tokenizer puts around it."""
    return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]] if texts else []

"""The answers of a cell (a variant's answers to a task at one number of shots) as they are read: what a score needs of them, and no more.

Up to `LARGEST` items every item's statistics are held, and numbers are computed from all of them. Beyond that, items are summed into
`GROUPS` groups by their position, and the groups take the place of items: a resampled interval draws groups, the randomisation test swaps
them, the jackknife leaves them out. The value itself stays that of all items. Right and wrong answers are held as one byte an item, so that
shares keep their closed intervals and exact test at any size.
"""

import hashlib
from array import array

import numpy as np
from numpy.typing import NDArray

from holdfast.results.metric_rule import Array, Metric
from holdfast.results.scores import Output
from holdfast.results.seen import Seen
from holdfast.results.statistics import Estimate, pseudovalues, single
from holdfast.results.symptoms import kept

LARGEST, GROUPS = 100_000, 10_000


class CellAnswers:
    """Take in the answers of a cell one by one, and hold what a score needs of them.

    Attributes:
        first: The first answer, for the circumstances that all of the cell share.
        n: Items so far.
        outputs: Of the answers, what symptoms of format collapse read (`symptoms.kept`); None where they are not kept, or are more than
            `LARGEST`.
        guess: The sum, over items with choices, of the share that guessing gets right.
        truncated: Items that were cut.
        seen: What the metric's signature says of the items.
    """

    def __init__(self, first: Output, metric: Metric, *, keep: bool) -> None:
        self.first, self.metric = first, metric
        self.n, self.guess, self.truncated, self.seen = 0, 0.0, 0, Seen()
        self.outputs: list[Output] | None = [] if keep else None
        self._rows, self._indices, self._question_ids = array("d"), array("q"), array("Q")
        self._right: bytearray | None = bytearray()
        self._groups: Array | None = None
        self._last = -1
        self._ids, self._inputs = hashlib.blake2b(), hashlib.blake2b()

    def add(self, output: Output) -> None:
        """Take in one answer.

        Raises:
            ValueError: it cannot be marked; or there are more than `LARGEST`, and the items do not come in their order.
        """
        row = tuple(self.metric.row(output))
        # A set: choices that are spelled alike are one answer.
        self.guess += 1 / len(set(output.choices)) if output.choices else 0.0
        self.truncated += output.truncated
        self.seen.add(output)
        self.n += 1
        if self.outputs is not None:
            self.outputs.append(kept(output, self.first))
        # The input too: with another template or other demonstrations the index is the same and the item is not.
        text = hashlib.blake2b(f"{output.index} {output.input}".encode(errors="surrogatepass"), digest_size=8)
        text_id = int.from_bytes(text.digest(), "little")
        if self._groups is None and self.n > LARGEST:
            self._group()
        if self._groups is None:
            self._rows.extend(row)
            self._indices.append(output.index)
            self._question_ids.append(text_id)
        else:
            self._add_to_group(self.n - 1, output.index, text_id, row)

    def _group(self) -> None:
        """Turn from single items to groups."""
        self.outputs = None
        indices, text_ids, items = self._ordered()
        self._groups = np.zeros((GROUPS, items.shape[1]))
        self._rows, self._indices, self._question_ids = array("d"), array("q"), array("Q")
        for number, (index, text, row) in enumerate(zip(indices, text_ids, items, strict=True)):
            self._add_to_group(number, int(index), int(text), tuple(row))

    def _add_to_group(self, number: int, index: int, text_id: int, row: tuple[float, ...]) -> None:
        assert self._groups is not None
        if index <= self._last:
            raise ValueError(
                f"{self.first.task}: item {index} comes after item {self._last}; of more than {LARGEST:,} items the answers must stand in "
                "the order of the items"
            )
        self._last = index
        self._groups[number % GROUPS] += row
        self._ids.update(index.to_bytes(8, "little"))
        self._inputs.update(text_id.to_bytes(8, "little"))
        if self._right is not None and len(row) == 1 and row[0] in (0, 1):
            self._right.append(int(row[0]))
        else:
            self._right = None

    def _ordered(self) -> tuple[NDArray[np.int64], NDArray[np.uint64], Array]:
        """Return indices `[n]`, digests of what was asked `[n]` and statistics `[n, s]` of single items, in the order of the items."""
        indices = np.frombuffer(self._indices, np.int64)
        order = np.argsort(indices, kind="stable")
        items = np.frombuffer(self._rows, np.float64).reshape(len(indices), -1)
        return indices[order], np.frombuffer(self._question_ids, np.uint64)[order], items[order]

    def ordered_outputs(self) -> list[Output] | None:
        """Return the answers in the order of their items: a change is paired item by item, and batches may have come in any order."""
        return None if self.outputs is None else sorted(self.outputs, key=lambda output: output.index)

    @property
    def items(self) -> bytes:
        """Return a digest of the items: cells with equal ones were asked the same items."""
        return self._ids.digest() if self._groups is not None else self._ordered()[0].tobytes()

    @property
    def questions(self) -> bytes:
        """Return a digest of the items and of the words that they were asked in."""
        return self._inputs.digest() if self._groups is not None else self._ordered()[1].tobytes()

    @property
    def is_shared(self) -> bool:
        """Return whether these are too many answers to be held one by one, and each is right or wrong."""
        return self._groups is not None and self._right is not None

    def units(self, other: "CellAnswers | None" = None) -> Array:
        """Return the statistics from which numbers are computed, `[units, s]`: of each item, or of each group of items.

        With `other`, which is compared with this cell, they are in a form that both have.
        """
        if self._groups is None:
            return self._ordered()[2]
        alone = self.metric.is_mean and self.metric.scale in (None, self.metric.unit)
        if alone and self._right is not None and (other is None or other.is_shared):
            return np.frombuffer(self._right, np.uint8)[:, None]  # pyright: ignore[reportReturnType] (an eighth of the memory)
        return self._groups

    def estimate(self, seed: int, resamples: int) -> Estimate:
        """Return the value with its interval."""
        return single(self.metric, self.units(), n=self.n, seed=seed, resamples=resamples)

    def value(self) -> float:
        """Return the value."""
        return float(self.metric.aggregate(self.units().sum(0), self.n))

    def sums(self) -> Array:
        """Return the statistics of each item, or of each of at most `LARGEST` groups: what may be resampled at any number of items."""
        return self._ordered()[2] if self._groups is None else self._groups

    def parts(self) -> Array:
        """Return the part of each item, or of each group, in the value (`statistics.pseudovalues`)."""
        return pseudovalues(self.metric, self.sums(), self.n)

"""The lines of a large JSONL, CSV or TSV file as a sequence that stays on the disk: read when they are asked for, checked when the file is
opened.

Held in memory, a million lines take gigabytes. Here they take 16 bytes for each `STRIDE` of them, and 8 for each line where only some
are chosen.
"""

import csv
import re
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, overload

from holdfast.tasks.error_list import Problems, wrong_byte
from holdfast.tasks.formats.records import Record, read_line, table_error, table_row

Item = TypeVar("Item", covariant=True)
From = TypeVar("From")
To = TypeVar("To")
BOM = b"\xef\xbb\xbf"
STRIDE = 16  # Lines between two places that are remembered: so many are passed over, at most, to come to any line.
RETURNS = re.compile(rb"(?<=\r)(?!\n|\Z)")  # Where a line ends that has no \n.
LARGE = 4 << 20  # Bytes from which on a file stays on the disk.


class ReadOnDemand(Sequence[Item]):
    """A sequence that is read when something is taken from it: from any number on, in order."""

    @abstractmethod
    def from_(self, index: int) -> Iterator[Item]:
        """Yield the items from this number on."""

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        count = len(self)
        if isinstance(index, slice):
            start, stop, step = index.indices(count)
            return tuple(islice(self.from_(start), 0, max(0, stop - start), step)) if step > 0 else tuple(self)[index]
        if not -count <= index < count:
            raise IndexError(index)
        return next(self.from_(index % count))

    def __iter__(self) -> Iterator[Item]:
        return self.from_(0)


class StoredRecords(ReadOnDemand[Record]):
    """The good lines of a JSONL file, or rows of a table, by number.

    Raises:
        ValueError: on reading, that the file was written to since it was opened.
    """

    def __init__(self, path: Path, problems: Problems) -> None:
        self.path = path
        # Of each stride: the place where it begins, and the lines before it.
        self._bytes, self._lines = array("Q"), array("Q")
        self._count, self._header = 0, list[str]()
        self._state = self._stat()
        before = len(problems.lines)
        try:
            for at, before_it, _ in self._good(0, 0, problems):
                if self._count % STRIDE == 0:
                    self._bytes.append(at)
                    self._lines.append(before_it)
                self._count += 1
        except UnicodeDecodeError:
            problems.add(path, f"is not UTF-8 text (byte {wrong_byte(path)}); save it as UTF-8")
        if not self._count and len(problems.lines) == before:
            problems.add(path, "has no examples; fill it, or remove it")

    def __len__(self) -> int:
        return self._count

    def from_(self, index: int) -> Iterator[Record]:
        """Yield the lines from this number on.

        Raises:
            ValueError: the file was written to since it was opened.
        """
        if index >= self._count:
            return
        if self._stat() != self._state:
            raise ValueError(f"{self.path}: was written to while it was read; give the command again")
        stride = index // STRIDE
        records = self._good(self._bytes[stride], self._lines[stride], Problems())
        # No further than the last good line: what is behind it may be no text.
        yield from (record for _, _, record in islice(records, index % STRIDE, self._count - stride * STRIDE))

    def _good(self, at: int, lines: int, problems: Problems) -> Iterator[tuple[int, int, Record]]:
        """Yield place in bytes, lines before and content of the good lines from a place on; the others go to `problems`."""
        with self.path.open("rb") as file:
            file.seek(at)
            read = self._objects if self.path.suffix == ".jsonl" else self._rows
            yield from read(file, at, lines, problems)

    def _objects(
        self, file: Iterator[bytes], at: int, lines: int, problems: Problems
    ) -> Iterator[tuple[int, int, Record]]:
        for line in file:
            text = line if at else line.removeprefix(BOM)
            if record := read_line(f"{self.path}:{lines + 1}", text.decode(), problems):
                yield at, lines, record
            at, lines = at + len(line), lines + 1

    def _rows(
        self, file: Iterator[bytes], at: int, lines: int, problems: Problems
    ) -> Iterator[tuple[int, int, Record]]:
        reached = at

        def texts() -> Iterator[str]:
            nonlocal reached
            # A row takes as many lines as it needs, and no more: what was taken by then is where the next one begins.
            for line in chain.from_iterable(map(RETURNS.split, file)):
                text = line if reached else line.removeprefix(BOM)
                reached += len(line)
                yield text.decode()

        rows = csv.reader(texts(), delimiter="\t" if self.path.suffix == ".tsv" else ",", strict=True)
        try:
            if not at:
                self._header = next(rows, [])
            before = reached, rows.line_num
            for row in rows:
                if record := table_row(f"{self.path}:{lines + rows.line_num}", self._header, row, problems):
                    yield before[0], lines + before[1], record
                before = reached, rows.line_num
        except csv.Error as error:
            problems.add(*table_error(self.path, lines + rows.line_num, error))

    def _stat(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns


class Mapped(ReadOnDemand[Item]):
    """Apply a function to each item, anew each time that it is asked for."""

    def __init__(self, items: ReadOnDemand[Any], make: Callable[[Any], Item]) -> None:
        self.items, self.make = items, make

    def __len__(self) -> int:
        return len(self.items)

    def from_(self, index: int) -> Iterator[Item]:
        """Yield what the function makes of the items from this number on."""
        return map(self.make, self.items.from_(index))


class Chosen(ReadOnDemand[Item]):
    """The items of these numbers, which ascend."""

    def __init__(self, items: ReadOnDemand[Item], numbers: Iterable[int]) -> None:
        self.items, self.numbers = items, array("Q", numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def from_(self, index: int) -> Iterator[Item]:
        """Yield the items from this place among the numbers on."""
        reached, rest = 0, iter(())
        for position in range(index, len(self.numbers)):
            number = self.numbers[position]
            # What lies between is read on where that is less than to begin anew.
            if position == index or number - reached > STRIDE:
                reached, rest = number, self.items.from_(number)
            yield next(islice(rest, number - reached, None))
            reached = number + 1


def mapped(make: Callable[[From], To], items: Sequence[From]) -> Sequence[To]:
    """Return what a function makes of each item: a tuple or, of items that stay on the disk, a sequence that does too."""
    return Mapped(items, make) if isinstance(items, ReadOnDemand) else tuple(map(make, items))


def chosen(items: Sequence[From], numbers: Iterable[int]) -> Sequence[From]:
    """Return the items of these numbers, which ascend: a tuple or, of items that stay on the disk, a sequence that does too."""
    # Below what is made of the items: nothing need be made of those that are passed over.
    if isinstance(items, Mapped):
        return mapped(items.make, chosen(items.items, numbers))
    return Chosen(items, numbers) if isinstance(items, ReadOnDemand) else tuple(items[number] for number in numbers)

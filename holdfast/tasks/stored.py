"""The lines of a large JSONL file as a sequence that stays on the disk: read when they are asked for, checked when the file is opened.

Held in memory, a million lines take gigabytes. Here they take 16 bytes for each `STRIDE` of them.
"""

from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar, overload

from holdfast.tasks.error_list import Problems
from holdfast.tasks.records import Record, read_line

Item = TypeVar("Item", covariant=True)
STRIDE = 256  # Lines between two places that are remembered: so many are passed over, at most, to come to any line.
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
    """The good lines of a JSONL file, by number.

    Raises:
        ValueError: on reading, that the file was written to since it was opened.
    """

    def __init__(self, path: Path, problems: Problems) -> None:
        self.path = path
        self._bytes, self._lines = array("Q"), array("Q")
        self._count = 0
        self._state = self._stat()
        before = len(problems.lines)
        try:
            for at, number, _ in self._good(0, 1, problems):
                if self._count % STRIDE == 0:
                    self._bytes.append(at)
                    self._lines.append(number)
                self._count += 1
        except UnicodeDecodeError as error:
            problems.add(path, f"is not UTF-8 text ({error.reason}); save it as UTF-8")
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
        yield from (record for _, _, record in islice(records, index % STRIDE, None))

    def _good(self, at: int, number: int, problems: Problems) -> Iterator[tuple[int, int, Record]]:
        """Yield place in bytes, number and content of the good lines from a place on; the others go to `problems`."""
        with self.path.open("rb") as file:
            file.seek(at)
            for line in file:
                text = line if at else line.removeprefix(b"\xef\xbb\xbf")
                if record := read_line(f"{self.path}:{number}", text.decode(), problems):
                    yield at, number, record
                at, number = at + len(line), number + 1

    def _stat(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns


class Mapped(ReadOnDemand[Item]):
    """Apply a function to each line, anew each time that it is asked for."""

    def __init__(self, records: StoredRecords, make: Callable[[Record], Item]) -> None:
        self.records, self.make = records, make

    def __len__(self) -> int:
        return len(self.records)

    def from_(self, index: int) -> Iterator[Item]:
        """Yield what the function makes of the lines from this number on."""
        return map(self.make, self.records.from_(index))

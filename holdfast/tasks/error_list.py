"""A list of everything that is wrong with the user's data, raised at once."""

import difflib
import reprlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from holdfast.tasks.bounded_jinja import TooMuch

SHOWN = 20  # problems that a terminal shows
LISTED = 5  # lines of a file that are named where the same is wrong with more: one wrong column is wrong in all of them
LONGEST = 1000  # characters of one message
MOST = 1000  # problems after which a file is not read on: each costs a search for the nearest name
COMPARED = 200  # characters of a name that are compared for the nearest


class Problems:
    """A collector of `where: what is wrong; what to do`, which raises them all at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._parts: list[tuple[str, str]] = []

    def add(self, where: object, what: object) -> None:
        """Note one problem and go on.

        Raises:
            ValueError: there are `MOST` now, or it is a template that has no end.
        """
        # A generation without an end says so of every line, and takes seconds each time: once is enough.
        self._parts.append((str(where), cut(str(what))))
        self.lines.append(": ".join(self._parts[-1]))
        if isinstance(what, TooMuch) or len(self.lines) >= MOST:
            self.stop()

    def stop(self) -> None:
        """Raise what was collected: what is wrong with several lines of a file once, the first 20 in full, the rest as a count.

        Raises:
            ValueError: there was any problem.
        """
        if self.lines:
            least = "at least " if len(self.lines) >= MOST else ""
            groups = self._groups()
            shown = [_message(path, what, numbers, least) for (path, what), numbers in groups[:SHOWN]]
            rest = sum(len(numbers) for _, numbers in groups[SHOWN:])
            more = [f"... and {least}{rest} more like these"] if rest > 0 else []
            raise ValueError("\n".join(shown + more))

    def _groups(self) -> list[tuple[tuple[str, str], list[str]]]:
        """Return file, problem and the numbers of the lines that have it; a place without such a number is by itself."""
        groups: dict[tuple[str, str], list[str]] = {}
        for where, what in self._parts:
            path, _, number = where.rpartition(":")
            key = (path, what) if path and number.isdecimal() else (where, what)
            groups.setdefault(key, []).append(number if key[0] == path else "")
        return list(groups.items())


def _message(path: str, what: str, numbers: list[str], least: str) -> str:
    """Return a problem of these lines of a file."""
    rest = len(numbers) - LISTED
    more = f" and {least}{rest} more lines" if rest > 0 else ""
    return f"{path}{':' if numbers[0] else ''}{', '.join(numbers[:LISTED])}{more}: {what}"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6, scheme: str = "") -> str:
    """Return "did you mean `x`? " for the known name that is most like `name`, behind its `scheme` (`lab:`); empty where none is."""
    if len(name) > COMPARED:  # A text and no name: comparing takes the product of the lengths.
        return ""
    names = [other for other in islice(known, MOST) if len(other) <= COMPARED]
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return f"did you mean `{scheme}{near[0]}`? " if near else ""


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text without its middle where it is longer than a message should be."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def short_repr(value: object) -> str:
    """Return a value as Python writes it, shortened: a few entries of a list, some 80 characters of a text."""
    return cut(_SHORT.repr(value), 200)


def wrong_byte(path: Path) -> int:
    """Return the position of the first byte of a file that is no UTF-8 (its size, where there is none): an error of a reader counts from
    where the reader was."""
    at = 0
    with path.open("rb") as file:
        for line in file:
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return at + error.start
            at += len(line)
    return at

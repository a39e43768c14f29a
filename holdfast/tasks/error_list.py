"""A list of everything that is wrong with the user's data, raised at once."""

import difflib
import reprlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from holdfast.tasks.bounded_jinja import TooMuch

SHOWN = 20  # A file with one wrong column has as many errors as lines, and a terminal shows so many.
LONGEST = 1000  # characters of one message
MOST = 1000  # problems after which a file is not read on: each costs a search for the nearest name
COMPARED = 200  # characters of a name that are compared for the nearest


class Problems:
    """A collector of `where: what is wrong; what to do`, which raises them all at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: object, what: object) -> None:
        """Note one problem and go on.

        Raises:
            ValueError: there are `MOST` now, or it is a template that has no end.
        """
        # A generation without an end says so of every line, and takes seconds each time: once is enough.
        self.lines.append(f"{where}: {cut(str(what))}")
        if isinstance(what, TooMuch) or len(self.lines) >= MOST:
            self.stop()

    def stop(self) -> None:
        """Raise what was collected: the first 20 in full, the rest as a count.

        Raises:
            ValueError: there was any problem.
        """
        if self.lines:
            rest = len(self.lines) - SHOWN
            least = "at least " if len(self.lines) >= MOST else ""
            more = [f"... and {least}{rest} more like these"] if rest > 0 else []
            raise ValueError("\n".join(self.lines[:SHOWN] + more))


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

"""A list of everything that is wrong with the user's data, raised at once."""

import difflib
from collections.abc import Iterable

SHOWN = 20  # A file with one wrong column has as many errors as lines, and a terminal shows so many.


class Problems:
    """A collector of `where: what is wrong; what to do`, which raises them all at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: object, what: object) -> None:
        """Note one problem and go on."""
        self.lines.append(f"{where}: {what}")

    def stop(self) -> None:
        """Raise what was collected: the first 20 in full, the rest as a count.

        Raises:
            ValueError: there was any problem.
        """
        if self.lines:
            rest = len(self.lines) - SHOWN
            more = [f"... and {rest} more like these"] if rest > 0 else []
            raise ValueError("\n".join(self.lines[:SHOWN] + more))


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return "did you mean `x`? " for the known name that is most like `name`; empty where none is."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean `{near[0]}`? " if near else ""

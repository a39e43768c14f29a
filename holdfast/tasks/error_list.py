"""Everything that is wrong with the user's data, said at once."""

import difflib
from collections.abc import Iterable

SHOWN = 20


class Problems:
    """Collects `where: what is wrong; what to do` and raises them together."""

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
    """ "; did you mean `x`?" for the known name that is most like `name`; empty where none is."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean `{near[0]}`? " if near else ""

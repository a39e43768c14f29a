"""Which sequences share a beginning that is worth computing once. Integers only; no model is involved."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from holdfast.prefix.packing import shared

DEEPER, MEMBERS = 32, 8  # A longer beginning pays where it spares this many tokens to at least this many sequences.


@dataclass(frozen=True, slots=True)
class Family:
    """Sequences (their numbers, in sorted order) whose first `length` tokens are equal."""

    length: int
    members: tuple[int, ...]


def families(sequences: Sequence[Sequence[int]]) -> list[Family]:
    """Sequences in families, so that one sequence that begins otherwise does not cost the rest their common beginning.

    Every sequence is in exactly one family. To keep a token out of the beginning, leave it out of the sequence.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    common = [0, *(shared(sequences[a], sequences[b]) for a, b in pairwise(order))]
    found: list[Family] = []

    def split(low: int, high: int) -> None:
        """Sequences low to high of the order: those below a deep enough branch on their own, the others together."""
        depth = min(common[low + 1 : high], default=len(sequences[order[low]]))
        cuts = [low, *(i for i in range(low + 1, high) if common[i] == depth), high]
        rest = []
        for first, last in pairwise(cuts):
            deeper = min(common[first + 1 : last], default=depth) - depth
            if last - first >= MEMBERS and deeper >= DEEPER:
                split(first, last)
            else:
                rest += order[first:last]
        if rest:
            found.append(Family(depth, tuple(rest)))

    if order:
        split(0, len(order))
    return found

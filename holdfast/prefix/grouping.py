"""Families of sequences that share a beginning worth computing once. Integers only; no model is involved."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from holdfast.prefix.packing import shared

DEEPER, MEMBERS = 32, 8  # A longer beginning pays where it spares this many tokens to at least this many sequences.


@dataclass(frozen=True, slots=True)
class PrefixFamily:
    """Sequences (their numbers, in sorted order) whose first `length` tokens are equal."""

    length: int
    members: tuple[int, ...]


def families(sequences: Sequence[Sequence[int]]) -> list[PrefixFamily]:
    """Return sequences in families, so that a few that begin otherwise do not cost the rest their common beginning.

    Every sequence is in exactly one family. To keep a token out of the beginning, leave it out of the sequence.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    # In sorted order the beginning that a stretch has in common is the least that its neighbours have: no pairs are compared.
    common = [0, *(shared(sequences[a], sequences[b]) for a, b in pairwise(order))]
    groups: list[tuple[int, list[int]]] = [(0, [])]
    # Sequences from, to, and the family that they belong to if not to one of their own.
    branches = [(0, len(order), 0)]
    while branches:
        low, high, home = branches.pop()
        if high - low < MEMBERS:
            groups[home][1].extend(order[low:high])
            continue
        depth = min(common[low + 1 : high])
        if depth >= groups[home][0] + DEEPER:
            home = len(groups)
            groups.append((depth, []))
        cuts = [low, *(i for i in range(low + 1, high) if common[i] == depth), high]
        branches += [(first, last, home) for first, last in pairwise(cuts)][::-1]
    return [
        PrefixFamily(shared(sequences[members[0]], sequences[members[-1]]), tuple(members))
        for _, members in groups
        if members
    ]

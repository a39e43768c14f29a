"""Facts about a cell's items that a metric's signature says, counted as the items come."""

from dataclasses import dataclass, field

from holdfast.results.scores import Output


@dataclass
class Seen:
    """Count what signatures say about the items of a cell: how many there are and how many list their answers, the numbers of accepted
    answers, and the names of their checks."""

    n: int = 0
    listed: int = 0
    references: set[int] = field(default_factory=set)
    checks: set[str] = field(default_factory=set)

    def add(self, output: Output) -> None:
        """Take in one item."""
        self.n += 1
        self.listed += bool(output.answers)
        self.references.add(len(output.answers or (output.target,)))
        if output.checks:
            self.checks.update(check.partition(" ")[0] for check in output.checks)

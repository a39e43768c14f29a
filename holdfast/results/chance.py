"""The base beside chance: above it, not above it, or unclear with these items. The one rule behind the word "floor"."""

from dataclasses import dataclass
from typing import Literal

from holdfast.results import units
from holdfast.results.metric_facts import facts
from holdfast.results.scores import Score
from holdfast.results.statistics import Estimate, items_to_tell

EXCESS = 0.05  # what "not above chance" must exclude, as a share of the scale: as much as "kept" must exclude of a loss
ROUNDING = 1e-11  # a lower limit at chance may be a rounding error above it


@dataclass(frozen=True)
class Standing:
    """The word for a score beside chance, the number of items that it rests on, and about how many would tell where these do not."""

    word: Literal["above", "not above", "unclear"]
    n: int
    needed: int | None = None

    @property
    def phrase(self) -> str:
        """Return what is said of the base: `the base` is followed by it."""
        if self.word == "unclear":
            return f"may be no better than chance at n = {self.n}"
        return f"is {self.word} chance"

    @property
    def more(self) -> str:
        """Return how many items would tell; empty where these do, or where no number would."""
        return f"about {units.about(self.needed)} items would tell" if self.needed else ""


def standing(score: Score) -> Standing | None:
    """Return where a score stands beside chance, by its 95 % interval; None of a metric without a scale, or where less is better.

    above      the interval lies above chance: that of guessing among choices, and zero where there are none
    not above  it excludes a score `EXCESS` of the scale above chance
    unclear    neither
    """
    known = facts(score.metric)
    if not known.scale or not known.more_is_better:
        return None
    value, low, high = (end / known.scale - score.chance for end in (score.value, score.low, score.high))
    if low > ROUNDING:
        return Standing("above", score.n)
    if high < EXCESS:
        return Standing("not above", score.n)
    needed = items_to_tell(Estimate(value, low, high, n=score.n), kept=0.0, lost=EXCESS)
    return Standing("unclear", score.n, needed)

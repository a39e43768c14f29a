"""The form in which an analysis says how its findings are drawn: `PANELS` in its file."""

from dataclasses import dataclass
from typing import Literal

OUTSIDE = "embeddings and head"  # where findings are of weights that lie in no block


@dataclass(frozen=True)
class MeasurePanel:
    """A panel of a figure: the measures in it, its title with the unit, and its meaning in words.

    A line is a block (the mean over what was measured inside of it), a state of the prompt (measures that end in `_off` and `_on`), or a
    place that findings name. Values are drawn times `scale`; `zero` is a height to compare with, None where there is none.
    """

    measures: tuple[str, ...]
    title: str
    meaning: str = ""
    line: Literal["block", "state", "where"] = "block"
    scale: float = 1.0
    zero: float | None = 0.0

"""The form of every metric: statistics of each item, and the function by which their sums become one number.

Every metric is reduced to a matrix of sufficient statistics `[n, s]`, one row an item, and a function of the column sums.
So resampling the items is a matrix product, and a corpus metric is resampled as honestly as a mean. Everything is read
from `Output` records, so a finished run can be marked again from its `outputs.jsonl`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from holdfast.results.scores import Output
from holdfast.results.seen import Seen
from holdfast.tasks.formats.conversation import without_thinking

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A rule that marks answers. More is better; a value lies in 0 to `scale` (1 for shares, 100 for BLEU, chrF, ROUGE; None: not known).

    A metric that another program `recorded` is in its own unit; ours count in shares of the scale.

    `measure(output)` is one item's row of s statistics. `total(sums [..., s], n)` is the value of n items with these column
    sums, before scaling; None is the mean of one statistic, which lies in 0 to 1. `pick(output)` is the answer where it is chosen by the
    choices' log-likelihoods; None where it is generated; `calibrated` where it also needs those without the question's content
    (`Output.prior`). `signature_of(seen)` says exactly what was computed. `interaction` names how an item is asked that takes several
    questions (`holdfast.evaluation.interaction`); where it is empty, one question is answered. `reads_target` where nothing is answered:
    the item is its target's log-likelihood. `beside` is another unit of the same statistics, which is reported too and gets no test.
    """

    name: str
    scale: float | None
    measure: Callable[[Output], Sequence[float]]
    total: Callable[[Array, float], Array] | None = None
    pick: Callable[[Output], str] | None = None
    signature_of: Callable[[Seen], str] = lambda seen: ""
    recorded: bool = False
    calibrated: bool = False
    interaction: str = ""
    reads_target: bool = False
    beside: "Metric | None" = None

    @property
    def needs_likelihoods(self) -> bool:
        """Return whether the model must say how probable a given text is, which one behind a server may not."""
        return self.pick is not None or self.reads_target

    @property
    def unit(self) -> float:
        """Return what turns the mean of the statistics, or `total`, into the value."""
        return 1.0 if self.recorded or self.scale is None else self.scale

    @property
    def is_mean(self) -> bool:
        """Return whether the value is the mean over items, so that each item has a value of its own."""
        return self.total is None

    def signature(self, outputs: Iterable[Output]) -> str:
        """Return a description of exactly what is computed of these items."""
        seen = Seen()
        for output in outputs:
            seen.add(output)
        return self.signature_of(seen)

    def row(self, output: Output) -> Sequence[float]:
        """Return one item's statistics; what a model thinks before its answer is no part of it, but of a text that is read it is."""
        return self.measure(output if self.recorded or self.reads_target else answered(output))

    def statistics(self, outputs: Sequence[Output]) -> Array:
        """Return the items' statistics, `[n, s]`."""
        # float64: the randomisation test takes changes that differ by 1e-9 for equal. The reshape gives an empty split its two
        # dimensions, so that the user sees the error of `statistics`, which says what to do.
        rows = [self.row(output) for output in outputs]
        return np.array(rows, dtype=np.float64).reshape(len(outputs), -1)

    def aggregate(self, sums: Array, n: float) -> Array:
        """Return values `[...]` of n items each, from the sums of their statistics `[..., s]`."""
        value = sums[..., 0] / n if self.total is None else self.total(sums, n)
        return self.unit * value

    def value(self, outputs: Sequence[Output]) -> float:
        """Return the metric over these items, of which there must be at least one."""
        return float(self.aggregate(self.statistics(outputs).sum(0), len(outputs)))


def answered(output: Output) -> Output:
    """Return the item as it is marked: without the thinking before its answer and its target."""
    texts = (output.output, output.target, *(output.answers or ()))
    # Most outputs hold none, and copies of all of them would take longer than many a metric.
    if not any("think>" in text for text in texts):
        return output
    answers = tuple(map(without_thinking, output.answers or ()))
    return replace(
        output, output=without_thinking(output.output), target=without_thinking(output.target), answers=answers
    )

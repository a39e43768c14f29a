"""The contract of an analysis: a function from a `Subject` to findings, registered by `@analysis`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

from holdfast import plugins
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row


class TargetLikeness(Protocol):
    """Likeness of the answers to general tasks to the target's: by task, a number for each question that was asked, with the last
    prompt attached (True) or removed.
    """

    def mass(self, attached: bool) -> Mapping[str, Sequence[float]]:
        """Return the probabilities that the answer begins as one of the target's."""
        ...

    def share(self, attached: bool) -> Mapping[str, Sequence[float]]:
        """Return 1 where the answer that is written is one of the target's, else 0."""
        ...


class NoQuestions:
    """Likeness without any general task that could be asked."""

    def mass(self, attached: bool) -> Mapping[str, Sequence[float]]:
        return {}

    share = mass


@dataclass(frozen=True)
class Subject:
    """A model during or after training, and what it came from.

    `model` is the model with the prompt that it was trained behind, if any; `base` is the plain model that the run started from.
    `rows` are training rows of the target, as training made them; `shuffled` are the same inputs with the answers of other
    examples, none of documents; `unseen` are rows of the test split, made likewise. All are empty where a finished run is looked at.
    `likeness` says how near the answers to general tasks are to the target's.
    """

    pretrained: Pretrained
    model: PrefixModel
    base: Pretrained
    rows: Sequence[Row]
    shuffled: Sequence[Row]
    likeness: TargetLikeness = field(default_factory=NoQuestions)
    unseen: Sequence[Row] = ()

    def states(self, measure: str, of: Callable[[bool], Mapping[str, Sequence[float]]]) -> "list[Finding]":
        """Return the mean of `of` over the questions of each general task.

        Args:
            measure: The findings are called `measure_off` with the prompt removed and `measure_on` with it attached.
            of: `likeness.mass` or `likeness.share`.
        """
        findings = []
        # A run without any prompt is called off too, so that its findings compare with those of runs that have one.
        for state, attached in {"off": False, "on": True}.items():
            if attached and not len(self.model.prompts):
                continue
            findings += [Finding(f"{measure}_{state}", task, fmean(values)) for task, values in of(attached).items()]
        return findings


@dataclass(frozen=True)
class Finding:
    """One number of an analysis: the name of the quantity (`measure`), and `where`: a parameter, a block, or a task."""

    measure: str
    where: str
    value: float


Analysis = Callable[[Subject], list[Finding]]


def analysis(function: Analysis) -> Analysis:
    """Register a function as an analysis: `--analyse` of its name reports the findings that it returns."""
    return plugins.register(plugins.ANALYSES, function)

"""What an analysis is given, and what it finds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.models import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.rows import Row


def _none(attached: bool) -> Mapping[str, Sequence[float]]:
    return {}


@dataclass(frozen=True)
class Subject:
    """A model during or after training, and what it came from.

    `model` is the model with the prompt that it was trained behind, if any; `base` is the plain model that the run started from.
    `rows` are training rows of the target, as training made them; `shuffled` are the same inputs with the answers of other
    examples; both empty where a finished run is looked at. `mass` gives, by general task, the probability that the answer to each of
    its questions begins as one of the target's does, with the last prompt attached (True) or removed.
    """

    pretrained: Pretrained
    model: PrefixModel
    base: Pretrained
    rows: Sequence[Row]
    shuffled: Sequence[Row]
    mass: Callable[[bool], Mapping[str, Sequence[float]]] = _none


@dataclass(frozen=True)
class Finding:
    """One number of an analysis: what was measured (`measure`), and `where`: a parameter, a block, or a task."""

    measure: str
    where: str
    value: float


Analysis = Callable[[Subject], list[Finding]]


def is_analysis(member: Any) -> bool:
    """A public function of one subject."""
    return getattr(member, "__annotations__", {}).get("subject") is Subject

"""What an analysis is given, and what it finds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.models import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.rows import Row


@dataclass(frozen=True)
class Subject:
    """A model during or after training, and what it came from.

    `model` is the model with the prompt that it was trained behind, if any; `base` is the plain model that the run started from.
    `rows` are training rows of the target, as training made them; `shuffled` are the same inputs with the answers of other
    examples. `asked` are questions of the general tasks, each with its task's name and without a prompt: rows whose last token is the
    first of the answer. `labels` are, by general task, the tokens that begin an answer of the target and none of the task's own.
    """

    pretrained: Pretrained
    model: PrefixModel
    base: Pretrained
    rows: Sequence[Row]
    shuffled: Sequence[Row]
    asked: Sequence[tuple[str, Row]] = ()
    labels: Mapping[str, frozenset[int]] = field(default_factory=dict)


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

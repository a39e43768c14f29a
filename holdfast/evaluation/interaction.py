"""The contract of items that take several questions, of which later ones depend on the answers to earlier ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from holdfast.inference.language_model import LanguageModel
from holdfast.tasks.task import Example, Task
from holdfast.tasks.text.templates import Rendered


@dataclass(frozen=True)
class PreparedItem:
    """One item before it is asked: its example, the demonstrations that stand before it, and its name in messages."""

    example: Example
    demonstrations: Sequence[Example]
    name: str


@dataclass(frozen=True)
class Interaction:
    """One item after its last question.

    `rendered` is the prompt that its output shows, the same for every model; the metric marks `answer` against `target`. `written` is all
    that the model wrote, and `new` the most tokens of one answer.
    """

    rendered: Rendered
    answer: str
    target: str
    written: str
    new: int


class Interact(Protocol):
    """A function that asks items in several questions: an entry of `INTERACTIONS`, which a metric names (`Metric.interaction`)."""

    def __call__(
        self,
        model: LanguageModel,
        task: Task,
        items: Sequence[PreparedItem],
        num_beams: int,
        max_new_tokens: int | None,
    ) -> Sequence[Interaction]:
        """Return each item after its last question, in the order of `items`."""
        ...

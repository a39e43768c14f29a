"""The contract of a curation: from the training examples of a task, the examples that are trained on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from holdfast.inference.language_model import LanguageModel
from holdfast.tasks.task import Example, Task


@dataclass(frozen=True)
class CurationContext:
    """Inputs of a curation beside the examples.

    Attributes:
        task: the target whose training examples are curated, with its template and metric.
        seed: of every draw.
        model: the model before training, to generate and to score with; None unless the curation `needs_model`.
        general: the tasks whose abilities should be kept.
        others: the tasks that `Curation.tasks` names, in its order.
    """

    task: Task
    seed: int = (
        0  # From here and not from a global generator: a curation is repeated bit by bit, whatever ran before it.
    )
    model: LanguageModel | None = None
    general: Sequence[Task] = ()
    others: Sequence[Task] = ()


class Curation(ABC):
    """Mix, select, rewrite or generate the examples that are trained on.

    A subclass is a frozen pydantic dataclass: its fields are its configuration, checked at construction, and all have
    defaults. The first line of its docstring says what it does, and a line `Source:` where it comes from. It is a pure
    function: the same examples, fields and context give the same result, and its arguments are not changed.
    """

    # A field that does not exist is refused; pydantic takes this from the base class, and would ignore it otherwise.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    needs_model: ClassVar[bool] = False
    """True if the curation generates or scores with the model."""
    # Said beforehand, so that the model is loaded only where it is needed: most curations work on the text alone.

    asks_questions: ClassVar[bool] = False
    """True if the curation rests on the examples' questions, so that documents, which have none, are refused."""

    def tasks(self) -> tuple[str, ...]:
        """Return the TASK arguments in the curation's own fields; they are read before the run begins, and their content counts."""
        return ()

    # One call with all examples, not one an example: a selection ranks them, and a mixture needs their number.
    @abstractmethod
    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the examples to train on, in order.

        An example that is taken over stays as it is. One that is changed or new says in `origin` where it comes from:
        `replace(example, target=..., origin="rewritten by the base")`.
        """

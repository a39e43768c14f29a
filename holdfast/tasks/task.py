"""Examples, templates and tasks as plain data. Nothing here knows a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

SHOTS = (0, 1)
"""Numbers of demonstrations at which a model is asked where nobody says: without one, as it is used, and with one, which shows whether
what seems lost comes back with the format. More cost most of the time, and do not fit many small models."""

METRICS = (
    "accuracy",
    "accuracy_norm",
    "accuracy_calibrated",
    "accuracy_letter",
    "accuracy_letter_calibrated",
    "exact_match",
    "starts_with",
    "f1",
    "rouge1",
    "rouge2",
    "rougeL",
    "bleu",
    "chrf",
    "tool_call",
    "joint_goal_accuracy",
    "checked",
    "pass@1",
    "likelihood",
)
SPLITS = ("train", "validation", "test")
HARNESS = "harness:"
"""Begins the `source` of a task that the lm-evaluation-harness asks and marks by its own rules."""


@dataclass(frozen=True, slots=True)
class Template:
    """The text around an example. `input` is a Jinja template over the example's fields; the rest is literal text.

    A prompt is `instruction + separator + demonstration + separator + ... + question`, a demonstration is
    `question + delimiter + target`, and the target that is trained or scored is `delimiter + target`.
    Generation ends where one of the `stop` strings begins.

    `chat=True` asks through the tokenizer's own chat template instead: the question is a user's turn, the target the
    assistant's, and each demonstration two turns before them; the instruction opens the first user turn, `delimiter`
    and `separator` rest. `chat="auto"` does so where the tokenizer has a chat template, and is plain text elsewhere.

    `loss` says what is trained of a conversation: every answer of the assistant (`all`), the last one, which is the target (`last`), or
    the tool calls in all of them (`call`).
    """

    input: str = "{{ input }}\nAnswer:"
    instruction: str = ""
    delimiter: str = " "
    separator: str = "\n\n"
    stop: tuple[str, ...] = ("\n",)
    chat: bool | Literal["auto"] = False
    loss: Literal["last", "all", "call"] = "last"

    @property
    def asks_nothing(self) -> bool:
        """Return whether the targets are texts of their own, which stand behind no question: documents to go on pretraining with."""
        return not (self.input or self.instruction or self.delimiter or self.chat)


DOCUMENT = Template(input="", delimiter="", separator="", stop=())
"""The template of a text of its own."""


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a task.

    `fields` is what a template may use (`{"input": ...}`, `{"premise": ..., "hypothesis": ...}`); `target` is the
    answer that is trained on; `choices`, where given, is the closed list of answers, and the target is one of them;
    `answers`, where given, lists every accepted answer, the target among them; `rejected`, where given, is an answer that
    the target is preferred to; `checks`, where given, say what a program checks of an answer (`holdfast.tasks.checks`, metric
    `checked`), and the target is one of the answers that pass; for the metric `pass@1` they are programs that the answer is run with.
    `origin` says where a curated example comes from; it is no part of what is asked, so two examples that differ in it alone are equal.
    `template`, where given, is how this example is asked in the place of its task's template; `task` names the other task that an
    example was mixed in from, whose demonstrations it has and before whose rows no prompt of this task stands. `demonstrations`, where
    given, stand before this example when it is trained on, none of them too, in the place of those that the stage would choose.
    `unfinished` says that its target goes on in another example, so that no end is learned behind it.
    """

    fields: Mapping[str, object]
    target: str
    choices: tuple[str, ...] | None = None
    answers: tuple[str, ...] | None = None
    rejected: str | None = None
    # Not compared: a curated example that was taken over unchanged equals the one it came from.
    origin: str = field(default="", compare=False)
    checks: tuple[str, ...] | None = None
    template: Template | None = None
    task: str = ""
    demonstrations: "tuple[Example, ...] | None" = None
    unfinished: bool = False

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every answer that counts as right."""
        return self.answers or (self.target,)


@dataclass(frozen=True, slots=True)
class Task:
    """Examples by split (`train`, `validation`, `test`), with everything that is needed to ask and to mark them.

    A split is a tuple, or of a large test file a sequence that reads its examples from the disk (`holdfast.tasks.formats.stored`): take
    slices of it, or go through it, and hold no list of it.
    """

    name: str
    splits: Mapping[str, Sequence[Example]]
    template: Template = field(default_factory=Template)
    metric: str = "exact_match"
    version: str = ""
    source: str = ""

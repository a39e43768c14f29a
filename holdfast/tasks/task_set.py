"""The tasks of a run: which are trained on, which should be kept, and which only explain. Each is read once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Literal

from holdfast.tasks.sources import expand, is_diagnostic, load_task, short
from holdfast.tasks.task import Task

Role = Literal["target", "general", "diagnostic"]


@dataclass(frozen=True)
class TaskRef:
    """A task by its TASK argument. `version` is the fingerprint of its content, by which it enters a stage's hash.

    `.task` reads the examples when they are first needed, and only once: all stages of a run hold the same references.
    """

    argument: str
    role: Role = "target"
    version: str = ""

    @classmethod
    def read(cls, argument: str, role: Role = "target") -> "TaskRef":
        """Return the reference to a task that is read now.

        Raises:
            ValueError: there is no such task, or its data is wrong.
        """
        task = load_task(argument)
        ref = cls(argument, role, task.version)
        # The cached property is filled at once: the data was read for its version anyway.
        ref.__dict__["task"] = task
        return ref

    @cached_property
    def task(self) -> Task:
        """The task's examples, template and metric.

        Raises:
            ValueError: there is no such task, or its data is wrong, or is no longer what `version` says.
        """
        task = load_task(self.argument)
        # A run that goes on after its data changed would mix two tasks under one name.
        if self.version not in ("", task.version):
            raise ValueError(f"{self.argument}: its data has changed since the run began; give the command again")
        return task

    @property
    def file_label(self) -> str:
        """The argument as part of a stage's name; nothing is read for it."""
        return short(self.argument)

    @property
    def file_name(self) -> str:
        """The task's name as part of a file's name."""
        return short(self.task.name)


@dataclass(frozen=True)
class TaskSet:
    """Targets are trained on; general tasks should be kept; diagnostics (tasks in disguise, probes) say whether what was lost is only
    hidden, and count in no mean."""

    targets: tuple[TaskRef, ...]
    general: tuple[TaskRef, ...] = ()
    diagnostics: tuple[TaskRef, ...] = ()

    @classmethod
    def read(cls, targets: Sequence[str], others: Sequence[str] = (), *, tuned: bool = True) -> "TaskSet":
        """Return the targets and the other tasks of a run, each read once; suites stand for their tasks.

        Raises:
            ValueError: there is no target where a model is `tuned` on one, two have one name, or a task cannot be read.
        """
        tasks = cls(tuple(TaskRef.read(name) for name in targets))
        # Outputs are written under the file name: two targets of one name would overwrite each other.
        names = {ref.file_name for ref in tasks.targets}
        if (tuned and not targets) or len(names) < len(targets):
            raise ValueError(
                f"task: {', '.join(targets) or 'none'}; give one target or more, each with a name of its own"
            )
        return tasks.beside(others)

    def beside(self, others: Sequence[str]) -> "TaskSet":
        """Return these targets beside other tasks, each read once; suites stand for their tasks.

        Raises:
            ValueError: a task cannot be read.
        """
        expanded = list(chain.from_iterable(map(expand, others)))
        return replace(
            self,
            general=tuple(TaskRef.read(name, "general") for name in expanded if not is_diagnostic(name)),
            diagnostics=tuple(TaskRef.read(name, "diagnostic") for name in expanded if is_diagnostic(name)),
        )

    @property
    def refs(self) -> tuple[TaskRef, ...]:
        """Every task, targets first."""
        return (*self.targets, *self.general, *self.diagnostics)

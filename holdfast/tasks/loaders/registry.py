"""Task sources from elsewhere in the package: a scheme, as in `lab:NAME`, and the module with its tasks."""

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

from holdfast.tasks.task import Task

_modules: dict[str, str] = {}


class TaskSource(Protocol):
    """The tasks behind `SCHEME:NAME`, as a registered module defines them."""

    ORIGIN: str
    """The place that the tasks come from, for a listing."""

    def names(self) -> Sequence[str]:
        """Return the names of the tasks."""
        ...

    def summary(self, name: str) -> str:
        """Return a line about a task, for a listing."""
        ...

    def task(self, name: str) -> Task:
        """Return the task of a name that `names` holds."""
        ...


def register(scheme: str, module: str) -> None:
    """Let `SCHEME:NAME` stand for the tasks of a module, which is imported when one of them is first needed."""
    _modules[scheme] = module


def schemes() -> list[str]:
    """Return the registered schemes."""
    return list(_modules)


def source(scheme: str) -> TaskSource:
    """Import the module of a registered scheme."""
    return cast(TaskSource, importlib.import_module(_modules[scheme]))

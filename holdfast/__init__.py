"""holdfast fine-tunes a language model on your task and shows, with honest statistics, that it has not forgotten the rest."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.measuring import evaluate, load
    from holdfast.methods.base import Method
    from holdfast.runs import Run, tune
    from holdfast.scores import Score
    from holdfast.stages.edit import edit_model
    from holdfast.studies.runner import study
    from holdfast.tasks.task import Example, Task, Template

__all__ = [
    "Example",
    "Method",
    "Run",
    "Score",
    "Task",
    "Template",
    "edit_model",
    "evaluate",
    "load",
    "study",
    "tune",
]

_HOME = {
    "holdfast.measuring": ("evaluate", "load"),
    "holdfast.methods.base": ("Method",),
    "holdfast.runs": ("Run", "tune"),
    "holdfast.scores": ("Score",),
    "holdfast.stages.edit": ("edit_model",),
    "holdfast.studies.runner": ("study",),
    "holdfast.tasks.task": ("Example", "Task", "Template"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `holdfast --help` need not wait for torch."""
    import importlib

    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'holdfast' has no attribute {name!r}")

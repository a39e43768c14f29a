"""holdfast fine-tunes a language model on your task and shows, with honest statistics, that it has not forgotten the rest.

    run = holdfast.tune("path/to/model", "path/to/task", general=["path/to/other"], out="runs/mine", model_={"steps": 200})
    for score in run.scores:
        if score.verdict:  # the base has none, and neither have symptoms such as the share of answers in a form
            print(score.task, score.shots, score.metric, score.prompt, score.value, score.delta, score.verdict)
    holdfast.load(run, prompt="on").generate(["..."])  # for the tuned task; prompt="off" for everything else

`tune`, `evaluate`, `edit_model` and `study` do what the commands of these names do, and `against` what `evaluate --against` does.
`load` gives a `Model` that scores text and continues it as a `Sampling` says. `Example`, `Task` and `Template` say what is asked, `Run`
and `Score` what came out. `Method` and `Edit` are for subclasses of your own: `method="path/to/file.py:MyMethod"`.
"""

from typing import TYPE_CHECKING, Any

from holdfast.tasks.loaders.registry import register

if TYPE_CHECKING:
    from holdfast.api.against import against
    from holdfast.api.edit import edit_model
    from holdfast.api.evaluate import evaluate
    from holdfast.api.load import load
    from holdfast.api.tune import Run, tune
    from holdfast.edits.base import Edit
    from holdfast.inference.model import Model
    from holdfast.inference.sampling import Sampling
    from holdfast.methods.base import Method
    from holdfast.results.scores import Score
    from holdfast.studies.runner import study
    from holdfast.tasks.task import Example, Task, Template

__all__ = [
    "Edit",
    "Example",
    "Method",
    "Model",
    "Run",
    "Sampling",
    "Score",
    "Task",
    "Template",
    "against",
    "edit_model",
    "evaluate",
    "load",
    "study",
    "tune",
]

# `lab:NAME` is a TASK wherever holdfast is used, and `tasks` need not know the lab, which is built on it.
register("lab", "holdfast.lab.world")

# The imports above are for type checkers alone, and this is what runs: a new name must stand in both.
_HOME = {
    "holdfast.edits.base": ("Edit",),
    "holdfast.inference.model": ("Model",),
    "holdfast.inference.sampling": ("Sampling",),
    "holdfast.api.against": ("against",),
    "holdfast.api.evaluate": ("evaluate",),
    "holdfast.api.load": ("load",),
    "holdfast.methods.base": ("Method",),
    "holdfast.api.tune": ("Run", "tune"),
    "holdfast.results.scores": ("Score",),
    "holdfast.api.edit": ("edit_model",),
    "holdfast.studies.runner": ("study",),
    "holdfast.tasks.task": ("Example", "Task", "Template"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    # `holdfast --help` need not wait for torch, which takes seconds to import.
    import importlib

    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("holdfast")
        except PackageNotFoundError:  # not installed: run from a checkout
            return "source"
    raise AttributeError(f"module 'holdfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__, "__version__"]

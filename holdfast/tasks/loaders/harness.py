"""Tasks of the lm-evaluation-harness as tasks of ours (`pip install 'holdfast[harness]'`); `evaluation/harness.py` asks them."""

from functools import cache
from pathlib import Path
from typing import Any

from holdfast.tasks.examples.splits import version
from holdfast.tasks.loaders.harness_examples import examples, template
from holdfast.tasks.task import HARNESS, Task

try:
    from lm_eval.tasks import TaskManager
except ImportError as error:
    raise ValueError(f"{HARNESS} tasks need the lm-evaluation-harness; pip install 'holdfast[harness]'") from error


def load(argument: str) -> list[Task]:
    """Return the harness's task of this name, or the tasks of its group.

    The argument is `harness:NAME`, or `harness:NAME@FOLDER` for a folder of task files.
    Only `evaluate` of this module can ask them. The metric is the first that is a mean over items of which more is better. Their
    examples are those of `harness_examples`, where the task can be trained on; otherwise there are none.

    Raises:
        ValueError: there is no such task, its data cannot be read, or none of its metrics is of that kind.
    """
    name, at, folder = argument.removeprefix(HARNESS).partition("@")
    if at and not Path(folder).expanduser().is_dir():
        raise ValueError(f"{argument}: there is no such folder; give the folder of the task files")
    return [_task(key, task, at + folder) for key, task in harness_tasks(name, folder).items()]


def _task(key: str, task: Any, at_folder: str) -> Task:
    splits = examples(task)
    content = version(template(task), splits) if splits else ""
    return Task(
        HARNESS + key,
        splits,
        template(task),
        metric=f"recorded:{_metric(key, task)}",
        # The harness's version says how it asks, ours what it asks; a task file may change without the first.
        version="-".join(filter(None, (f"{task.VERSION}", content))),
        source=HARNESS + key + at_folder,
    )


def _metric(name: str, task: Any) -> str:
    for metric, more_is_better in task.higher_is_better().items():
        # Others (a corpus score, a perplexity) have no value for each item, and no interval could be computed for them.
        if more_is_better and getattr(task.aggregation().get(metric), "__name__", "") == "mean":
            return metric
    raise ValueError(
        f"{HARNESS}{name}: none of its metrics ({', '.join(task.higher_is_better())}) is a mean over items of which more is better; "
        "choose another task"
    )


def harness_tasks(name: str, folder: str) -> dict[str, Any]:
    """Return the harness's own task objects under a name, by their names.

    Raises:
        ValueError: there is none, or its data cannot be read.
    """
    manager = task_manager(folder)
    try:
        return manager.load([name])["tasks"]
    except KeyError as error:
        where = (
            f"{folder} describes no such task"
            if folder
            else "the harness has no such task; `lm-eval ls tasks` lists them"
        )
        raise ValueError(f"{HARNESS}{name}: {where}") from error
    except OSError as error:
        raise ValueError(f"{HARNESS}{name}: its data cannot be read: {' '.join(str(error).split())}") from error


@cache
def task_manager(folder: str) -> TaskManager:
    """Return the harness's index of tasks, read once for each folder: its own has thousands of files."""
    if not folder:
        return TaskManager()
    # Without the harness's own tasks: a folder's file may have the name of one of them, and must not be taken for it.
    return TaskManager(include_path=str(Path(folder).expanduser()), include_defaults=False)

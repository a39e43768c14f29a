"""Tasks of the lm-evaluation-harness as tasks of ours (`pip install 'holdfast[harness]'`); `evaluation/harness.py` asks them."""

from functools import cache
from pathlib import Path
from typing import Any

from holdfast.tasks.harness_examples import PREFIX, examples, template
from holdfast.tasks.splits import version
from holdfast.tasks.task import Task

try:
    from lm_eval.tasks import TaskManager
except ImportError as error:
    raise ValueError(f"{PREFIX} tasks need the lm-evaluation-harness; pip install 'holdfast[harness]'") from error


def load(argument: str) -> list[Task]:
    """The harness's task of this name, or the tasks of its group: `harness:NAME`, or `harness:NAME@FOLDER` for a folder of task files.

    Only `evaluate` of this module can ask them. The metric is the first that is a mean over items of which more is better. Their
    examples are those of `harness_examples`, where the task can be trained on; otherwise there are none.

    Raises:
        ValueError: there is no such task, its data cannot be read, or none of its metrics is of that kind.
    """
    name, at, folder = argument.removeprefix(PREFIX).partition("@")
    if at and not Path(folder).expanduser().is_dir():
        raise ValueError(f"{argument}: there is no such folder; give the folder of the task files")
    return [_task(key, task, at + folder) for key, task in harness_tasks(name, folder).items()]


def _task(key: str, task: Any, place: str) -> Task:
    splits = examples(task)
    found = version(template(task), splits) if splits else ""
    return Task(
        PREFIX + key,
        splits,
        template(task),
        metric=f"recorded:{_metric(key, task)}",
        version="-".join(filter(None, (f"{task.VERSION}", found))),
        source=PREFIX + key + place,
    )


def _metric(name: str, task: Any) -> str:
    for metric, more_is_better in task.higher_is_better().items():
        if more_is_better and getattr(task.aggregation().get(metric), "__name__", "") == "mean":
            return metric
    raise ValueError(
        f"{PREFIX}{name}: none of its metrics ({', '.join(task.higher_is_better())}) is a mean over items of which more is better; "
        "choose another task"
    )


def harness_tasks(name: str, folder: str) -> dict[str, Any]:
    """The harness's own task objects under a name, by their names."""
    manager = task_manager(folder)
    try:
        return manager.load([name])["tasks"]
    except KeyError as error:
        where = (
            f"{folder} describes no such task"
            if folder
            else "the harness has no such task; `lm-eval ls tasks` lists them"
        )
        raise ValueError(f"{PREFIX}{name}: {where}") from error
    except OSError as error:
        raise ValueError(f"{PREFIX}{name}: its data cannot be read: {' '.join(str(error).split())}") from error


@cache
def task_manager(folder: str) -> TaskManager:
    """The harness's index of tasks; reading its own thousands of files takes a while, so once."""
    if not folder:
        return TaskManager()
    return TaskManager(include_path=str(Path(folder).expanduser()), include_defaults=False)

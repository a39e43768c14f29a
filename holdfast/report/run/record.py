"""Say what a run came to as one record, for programs: the verdict in words, and the means with their intervals."""

from dataclasses import dataclass
from pathlib import Path

from holdfast.report import judge, sentences
from holdfast.results import run_folder, units
from holdfast.results.judged import read_judge
from holdfast.results.run_folder import RunFolder
from holdfast.results.statistics import Estimate
from holdfast.results.summary import Summary, TaskResult


@dataclass(frozen=True)
class ChangedTask:
    """A task at one number of demonstrations, in points of 100 where its metric has an upper end.

    About `needed` items would tell kept from lost; at the floor, whether the base is above chance.
    """

    task: str
    role: str
    shots: int
    metric: str
    base: float | None
    tuned: float
    verdict: str
    needed: int | None


@dataclass(frozen=True)
class RunRecord:
    """The outcome of a run. `gain` and `change` are in points, `retention` in per cent of the base's mean on general tasks.

    `tasks` are the targets and the general tasks in the prompt state that counts; those at the floor have the verdict "floor".
    `collapse` says in words where the target's format has spread, and is empty where it has not. `judged` is the verdict of a judge on
    written answers, or why there is none; empty where no judge was asked.
    """

    run: str
    verdict: str
    gain: Estimate | None
    retention: Estimate | None
    change: Estimate | None
    collapse: str
    tasks: list[ChangedTask]
    page: str
    judged: str = ""


def run_record(folder: Path) -> RunRecord:
    """Return the record of a folder with scores.

    Raises:
        ValueError: there are no scores.
    """
    summary = Summary.of(run_folder.read(folder).scores)
    lines = [*summary.by_own_metric("target"), *summary.by_own_metric("general")]
    return RunRecord(
        str(folder),
        " ".join(sentences.plain(sentence) for sentence in sentences.headline(summary) if sentence),
        summary.gain,
        summary.retention,
        summary.general_change,
        sentences.plain(sentences.collapse(summary)),
        [changed for line in lines if (changed := _changed(line))],
        str(RunFolder(folder).page),
        judge.verdict(record) if (record := read_judge(folder)) else "",
    )


def _changed(line: TaskResult) -> ChangedTask | None:
    score = line.headline
    if score is None:
        return None
    word = "floor" if line.floored else line.verdict
    needed = line.chance.needed if line.floored and line.chance else score.needed
    factor = units.factor(line.metric) or 1.0
    base = factor * line.base.value if line.base else None
    return ChangedTask(line.task, line.role, line.shots, line.metric, base, factor * score.value, word or "", needed)

"""Runs of a study side by side: each is done once, and what kills a process costs its own run alone."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.studies.executors import KILLED, Work, local


def do(work: Work) -> tuple[Path, str]:
    """Note in the run's folder that it began; be killed as often as its arguments say, then end."""
    work.path.mkdir(parents=True, exist_ok=True)
    begun = len(list(work.path.iterdir()))
    (work.path / f"begun-{begun}").touch()
    time.sleep(work.arguments.get("seconds", 0))
    if begun < work.arguments.get("kills", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    return work.path, work.arguments.get("fails", "")


def runs(folder: Path, *arguments: dict[str, Any]) -> list[Work]:
    return [Work(folder / str(number), each, "") for number, each in enumerate(arguments)]


def begun(work: Work) -> int:
    return len(list(work.path.iterdir()))


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_every_run_is_done_once(tmp_path: Path, jobs: int) -> None:
    work = runs(tmp_path, {}, {"fails": "it is wrong"}, {}, {}, {})
    ended = dict(local(do, work, jobs))
    assert ended == {run.path: run.arguments.get("fails", "") for run in work}
    assert [begun(run) for run in work] == [1] * 5


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system kills no processes by a signal")
def test_a_killed_process_costs_no_other_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    work = runs(tmp_path, {}, {"kills": 1, "seconds": 1}, {"seconds": 3}, {}, {"kills": 2, "seconds": 1}, {}, {})
    ended = dict(local(do, work, 2))
    assert set(ended) == {run.path for run in work}
    failed = {path.name: why for path, why in ended.items() if why}
    assert list(failed) == ["4"], "the one that is killed alone too"
    assert failed["4"].startswith(KILLED)
    assert "while it ran alone" in failed["4"]
    assert begun(work[1]) == begun(work[4]) == 2
    assert begun(work[2]) == 2, "it was under way beside a killed one"
    assert [begun(work[number]) for number in (0, 5, 6)] == [1] * 3
    assert "the runs under way are done again, one at a time" in capfd.readouterr().err

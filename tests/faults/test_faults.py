"""Disks, clocks, users and other processes that fail in the middle: one clear line, and the same command ends as if nothing had been."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.kills import SHORT, Runner, content

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the faults need fork")
OPTIONS = [
    *SHORT,
    "--method",
    "full",
    "--set",
    "model.steps=3",
    "--set",
    "model.save_every=1",
    "--set",
    "model.batch_size=4",
]
TUNE = ["tune", "lab", "lab:elicit-sentiment", *OPTIONS, "--set", "model.validation_limit=4", "--out", "OUT/run"]


@pytest.fixture(scope="module")
def whole(made: Runner) -> tuple[dict[str, str], int]:
    """The content of an undisturbed run, and the number of its file operations."""
    ended = made.whole(TUNE, made.root / "whole" / "tune")
    return content(made.root / "whole" / "tune"), ended.events


def said(made: Runner, out: Path) -> str:
    """Return what a command has printed, and forget it."""
    log = made.root / f"{out.name}.log"
    text = log.read_text()
    log.unlink()
    return text


def last(text: str) -> str:
    """Return the one line of an error."""
    assert "Traceback" not in text, text[-3000:]
    return text.splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        pytest.param(errno.EROFS, "read-only", marks=pytest.mark.slow),
        (errno.EACCES, "ermission"),
        pytest.param(errno.EIO, "nput/output", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "share",
    [
        0.02,
        pytest.param(0.3, marks=pytest.mark.slow),
        pytest.param(0.7, marks=pytest.mark.slow),
        pytest.param(0.97, marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_fails_is_one_line_and_nothing_is_lost(
    made: Runner, whole: tuple[dict[str, str], int], number: int, words: str, share: float
) -> None:
    expected, events = whole
    out = made.root / f"{number}-{share}" / "tune"
    ended = made.run(TUNE, out, event=max(1, int(share * events)), error=number)
    line = last(said(made, out))
    assert ended.code == 1, line
    assert line.startswith("holdfast: ")
    assert words in line
    made.whole(TUNE, out)
    assert content(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9])
def test_a_folder_that_vanishes_is_one_line(made: Runner, whole: tuple[dict[str, str], int], share: float) -> None:
    expected, events = whole
    out = made.root / f"gone-{share}" / "tune"
    ended = made.run(TUNE, out, event=int(share * events), remove=str(out / "run"))
    text = said(made, out)
    assert ended.code in (0, 1), text
    assert "Traceback" not in text, text[-3000:]
    made.whole(TUNE, out)
    assert content(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("jump", [-86400.0 * 400, 86400.0 * 400])
def test_a_clock_that_jumps_changes_nothing(made: Runner, whole: tuple[dict[str, str], int], jump: float) -> None:
    expected, events = whole
    out = made.root / f"clock{jump}" / "tune"
    assert made.run(TUNE, out, event=events // 2, jump=jump).code == 0
    assert content(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("interrupts", [1, 2, 5])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_ctrl_c_once_or_more_often_ends_at_once_and_loses_nothing(
    made: Runner, whole: tuple[dict[str, str], int], interrupts: int, share: float
) -> None:
    expected, events = whole
    out = made.root / f"ctrl-c-{interrupts}-{share}" / "tune"
    ended = made.run(TUNE, out, event=int(share * events), interrupts=interrupts)
    text = said(made, out)
    assert ended.code == 130, text[-2000:]
    assert "Traceback" not in text, text[-3000:]
    made.whole(TUNE, out)
    assert content(out) == expected


@pytest.mark.slow
def test_two_commands_on_one_folder_wait_for_each_other(made: Runner, whole: tuple[dict[str, str], int]) -> None:
    out = made.root / "two" / "tune"
    out.mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", "-m", "holdfast", *(part.replace("OUT", str(out)) for part in TUNE)]
    environment = {**os.environ, "HOLDFAST_CACHE": str(made.root / "cache"), "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    texts = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert content(out) == whole[0]
    assert sum("another command works here" in text for _, text in texts) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data/train.jsonl", "data/task.yaml"])
def test_curated_rows_that_changed_are_not_trained_on(made: Runner, name: str) -> None:
    """The rows that a stage wrote are state of the run: a killed command goes on with them, and with no others."""
    out = made.root / f"curated-{name.replace('/', '-')}" / "tune"
    command = [*TUNE, "--curate", "mix", "--set", "curate.size=40"]
    ended = made.run(command, out, event=120, error=errno.ENOSPC)
    marked = [mark.parent for mark in out.glob("run/stages/*/done.json") if (mark.parent / "data").is_dir()]
    assert ended.code == 1
    assert len(marked) == 1, "the rows are written, and the training is not done"
    path = marked[0] / name
    path.write_text(path.read_text() + "\n")
    said(made, out)
    assert made.run(command, out).code == 1
    assert "is not as the finished stage left it" in last(said(made, out))

"""A folder on a shared disk is one machine's at a time: other machines are names that this process is given."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from holdfast.stages import lease
from holdfast.stages.lease import leased


def of_another(folder: Path, age: float = 0.0) -> Path:
    """A lease that another machine touched so many seconds ago."""
    path = folder / lease.NAME
    path.write_text(json.dumps({"host": "elsewhere", "process": 1, "lease": "x"}))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_another_machines_lease_is_waited_for_and_its_name_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = of_another(tmp_path)
    threading.Timer(0.5, path.unlink).start()
    began = time.monotonic()
    with leased(tmp_path, "another command works here", renewed=0.2, stale=30.0):
        assert time.monotonic() - began >= 0.4
        assert json.loads(path.read_text())["host"] == lease.HOST
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err.count("another command works here (on elsewhere)") == 1


def test_a_lease_that_nobody_touches_any_more_is_taken_over(tmp_path: Path) -> None:
    of_another(tmp_path, age=100.0)
    began = time.monotonic()
    with leased(tmp_path, renewed=1.0, stale=5.0):
        assert time.monotonic() - began < 3.0
    assert not list(tmp_path.iterdir())


def test_a_holder_that_works_longer_than_a_lease_lasts_keeps_it(tmp_path: Path) -> None:
    with leased(tmp_path, renewed=0.1, stale=0.5):
        time.sleep(1.0)
        assert lease._age(tmp_path / lease.NAME) < 0.5


def test_what_a_killed_process_of_this_machine_left_is_taken_at_once(tmp_path: Path) -> None:
    (tmp_path / lease.NAME).write_text(json.dumps({"host": lease.HOST, "process": 1, "lease": "x"}))
    began = time.monotonic()
    with leased(tmp_path):
        assert time.monotonic() - began < 1.0


def test_one_that_lost_its_lease_does_not_take_it_from_the_next(tmp_path: Path) -> None:
    with leased(tmp_path, renewed=0.05):
        path = of_another(tmp_path)
        time.sleep(0.3)
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_a_lease_that_is_just_being_written_is_another_s_and_one_that_was_cut_short_is_nobody_s(tmp_path: Path) -> None:
    """The bug: between making the file and writing into it, two machines held the folder."""
    path = tmp_path / lease.NAME
    path.touch()
    mine: dict[str, object] = {"host": lease.HOST, "process": 1, "lease": "x"}
    assert not lease._taken(path, mine, lease.STALE)
    assert path.read_text() == ""
    then = time.time() - 2 * lease.WRITTEN
    os.utime(path, (then, then))
    assert lease._taken(path, mine, lease.STALE)

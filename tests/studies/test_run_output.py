"""Progress of a study on stderr: which run begins, a line a minute of what it says, and what came out when it ends."""

import io
import re
from pathlib import Path

import pytest

from holdfast.studies.run_output import RunOutput
from tests.studies.test_runner import run
from tests.studies.test_runner import world as tiny_world

world = tiny_world  # the fixture: a tiny random model and three tasks


def test_all_lines_go_to_the_log_and_one_a_minute_to_the_terminal() -> None:
    now, log, terminal = [0.0], io.StringIO(), io.StringIO()
    output = RunOutput(log, terminal, "pick--full--0", clock=lambda: now[0])
    for second in (10.0, 59.0, 61.0, 70.0, 120.0, 122.0):
        now[0] = second
        print(f"model: step {second:.0f}", file=output)
    assert log.getvalue().count("\n") == 6
    assert terminal.getvalue().splitlines() == ["  pick--full--0: model: step 61", "  pick--full--0: model: step 122"]


def test_half_a_line_is_not_shown_and_of_a_bar_its_last_state_is() -> None:
    now, terminal = [0.0], io.StringIO()
    output = RunOutput(io.StringIO(), terminal, "a", clock=lambda: now[0])
    now[0] = 100.0
    output.write("10 %\r20 %")
    assert not terminal.getvalue()
    output.write("\n\n")
    assert terminal.getvalue() == "  a: 20 %\n"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_says_which_run_begins_and_what_came_out(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], jobs: int
) -> None:
    arms = {"full": {"model.learning_rate": 1e-2}}
    settings = {"out": tmp_path / "study", "jobs": jobs, "analyses": [], "set": {"model.steps": 2}}
    run(world, arms, seeds=2, **settings)
    printed = capfd.readouterr()
    assert not printed.out
    lines = printed.err.splitlines()
    assert lines[0].startswith("holdfast: 1 x 1 x 2 runs (arms x targets x seeds); ")
    pick = re.escape(str(world / "pick"))
    begun = [line for line in lines if re.fullmatch(rf"run \d of 2 begins: full on {pick}, seed \d", line)]
    ended = [line for line in lines if re.match(r"\[\d/2\] pick--full--\d: target \d", line)]
    assert (len(begun), len(ended)) == (2, 2)
    assert lines.index(begun[0]) < lines.index(ended[0])
    assert " left)" in ended[0]
    assert " left)" not in ended[1]
    run(world, arms, seeds=2, **settings)
    again = capfd.readouterr().err
    assert "; 2 of them were finished before; " in again
    assert "begins" not in again
    assert " left)" not in again, "a run that takes no time tells nothing about the others"

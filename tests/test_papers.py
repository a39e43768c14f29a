"""docs/papers.md: every row names a command that runs as it stands, tests that exist, and what was not reproduced."""

import re
import shlex
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app

ROOT = Path(__file__).parents[1]
COLUMNS = ("row", "paper", "command", "test", "reproduced here", "not reproduced and why")
# More than 20 s of one core: found with `pytest tests/test_papers.py -m "slow or not slow" --durations=0`.
SLOW: set[str] = set()
NEEDS = {"12": "ot", "1": "sklearn"}  # packages of the extra `select`, by row


class PaperRow(NamedTuple):
    """One line of the table."""

    row: str
    paper: str
    command: str
    test: str
    reproduced: str
    missing: str


def table() -> list[PaperRow]:
    lines = [line for line in (ROOT / "docs" / "papers.md").read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert tuple(cells[0]) == COLUMNS
    return [PaperRow(*row) for row in cells[2:]]


ROWS = table()
COMMANDS = {row.row: re.findall(r"`(holdfast [^`]+)`", row.command) for row in ROWS}
# What is for images alone, or has no code of its authors and no data here: 24 FM3, 26 Polyhistor, 34 Uni-Perceiver v2, 42.
LEFT_OUT = {24, 26, 34, 42}


def test_every_row_is_whole_and_they_stand_in_order() -> None:
    numbers = [[int(number) for number in re.findall(r"\d+", row.row)] for row in ROWS]
    assert numbers == sorted(numbers)
    assert sorted(chain.from_iterable(numbers)) == [number for number in range(1, 43) if number not in LEFT_OUT]
    for row in ROWS:
        assert all(row), f"row {row.row}: an empty cell says nothing"
        assert COMMANDS[row.row], f"row {row.row}: no command"


def test_the_tests_and_studies_that_rows_name_are_there() -> None:
    for row in ROWS:
        named = [name.strip() for name in row.test.split(",")]
        assert [name for name in named if not (ROOT / name).is_file()] == [], f"row {row.row}"
        for link in re.findall(r"\]\(([^)#]+)\)", " ".join(row)):
            assert link.startswith("http") or (ROOT / "docs" / link).exists(), f"row {row.row}: {link}"


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[pytest.mark.slow] if row in SLOW else [], id=f"row-{row}") for row in COMMANDS]
)
def test_a_rows_commands_run_as_they_stand(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in an empty folder in which the repository's docs are, as for somebody who copies the lines."""
    if row in NEEDS:
        pytest.importorskip(NEEDS[row], reason="a package of holdfast[select]")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS[row]:
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
        assert result.output.strip()

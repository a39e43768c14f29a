"""A command of holdfast within the test's process: what a user types, and what a user sees."""

import sys
from dataclasses import dataclass

import pytest

from holdfast.cli.app import main


@dataclass(frozen=True)
class Seen:
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error; the command must have ended with 1 and printed nothing else of its own."""
        lines = [line for line in self.err.splitlines() if line.startswith("holdfast: ")]
        assert (self.code, len(lines)) == (1, 1), self
        return lines[0]


class Commands:
    """Runs commands; made by the fixture `holdfast`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Seen:
        self.monkeypatch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        shown = self.capsys.readouterr()
        return Seen(code if isinstance(code, int) else 0, str(shown.out), str(shown.err))

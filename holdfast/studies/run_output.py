"""Everything that a run of a study says while it works: to a file of its own, and one line a minute to the study's own stderr."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TextIO

OFTEN = 60.0  # Seconds between two lines of one run: a study of many runs is read, and not scrolled past.


class RunOutput(io.TextIOBase):
    """The stderr of one run: all of it goes to `log`, and now and then a whole line to `terminal`, behind the run's name."""

    def __init__(self, log: TextIO, terminal: TextIO, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.log, self.terminal, self.name, self.clock = log, terminal, name, clock
        self.spoke, self.begun = clock(), ""  # when a line was last shown, and the beginning of the one that is written

    def write(self, text: str) -> int:
        """Write text; show the last whole line of it where none was shown for a minute."""
        self.log.write(text)
        *lines, begun = (self.begun + text).split("\n")
        self.begun = begun.rpartition("\r")[2]  # A bar writes its line anew a thousand times, and may never end it.
        line = next((line for line in reversed(lines) if line.strip()), "")
        if line and self.clock() - self.spoke >= OFTEN:
            self.spoke = self.clock()
            print(f"  {self.name}: {line.rpartition(chr(13))[2]}", file=self.terminal, flush=True)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        self.log.flush()

    def fileno(self) -> int:
        """Return the number of the log's file: a library below Python writes there."""
        return self.log.fileno()


@contextmanager
def logged(path: Path, name: str) -> Iterator[None]:
    """Send stderr to the file of a run's log, and a line a minute to what stderr is now."""
    # To a file of its own: several runs write at a time, and their lines would be mixed on the terminal.
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log, redirect_stderr(RunOutput(log, sys.stderr, name)):
        yield

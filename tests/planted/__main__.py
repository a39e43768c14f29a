"""Plant each bug in a copy of the repository and run the tests that must notice: `python -m tests.planted [NAME...]`.

A bug is planted where one of the names is a part of its name; without any, all are, which takes a quarter of an hour. What survives is
named, and the exit code is 1. A bug that no test notices wants a test; one whose text is gone wants to follow the code, or to go.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.planted.bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]
COPIED = ("holdfast", "tests", "docs", "benchmarks", "pyproject.toml", "README.md", "CHANGELOG.md")


@contextmanager
def copied() -> Iterator[Path]:
    """Copy what tests read of the repository into a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, copy / name)
        yield copy


@contextmanager
def planted(copy: Path, bug: Bug) -> Iterator[None]:
    """Put a bug into the copy, and take it out again.

    Raises:
        ValueError: the text that it replaces does not stand there exactly once: the code moved on, and the bug must follow.
    """
    path = copy / "holdfast" / bug.file
    before = path.read_text()
    if before.count(bug.old) != 1:
        raise ValueError(
            f"{bug.name}: {bug.file} holds the text to replace {before.count(bug.old)} times; let it follow the code"
        )
    path.write_text(before.replace(bug.old, bug.new))
    try:
        yield
    finally:
        path.write_text(before)


def failed(copy: Path, tests: str) -> str:
    """Run tests in the copy; return the first that failed, or nothing.

    Raises:
        RuntimeError: pytest could not run them.
    """
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-p",
        "no:cacheprovider",
        *(f"tests/{name}" for name in tests.split()),
    ]
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if result.returncode > 1 and not lines:
        raise RuntimeError(f"pytest could not run tests of {tests}:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return lines[0] if lines else ""


def main(names: list[str]) -> int:
    """Plant the bugs with these names; return how many survived."""
    survived = 0
    with copied() as copy:
        for bug in BUGS:
            if names and not any(name in bug.name for name in names):
                continue
            with planted(copy, bug):
                caught = failed(copy, bug.tests)
            survived += not caught
            print(f"{'caught' if caught else 'SURVIVED'}: {bug.name}: {caught or bug.tests}", flush=True)
    return survived


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)

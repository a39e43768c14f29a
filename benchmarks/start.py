"""Start-up: commands that need no model, against importing torch and transformers, which every command would wait for otherwise.

Processor seconds of whole processes, children's times, in turn; nothing is computed by both, so the difference is 0.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import harness

COMMANDS = {
    "import holdfast": ["-c", "import holdfast"],
    "holdfast --help": ["-m", "holdfast", "--help"],
    "holdfast methods": ["-m", "holdfast", "methods"],
    "holdfast methods promot": ["-m", "holdfast", "methods", "promot"],
    "a mistyped model": ["-m", "holdfast", "evaluate", "lab", "--against", "no/such/model"],
    "a mistyped field": ["-m", "holdfast", "tune", "lab", "lab:sentiment", "--set", "model.stepps=1"],
}
LIBRARIES = ["-c", "import torch, transformers"]


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """Each command beside the libraries' imports."""
    for name, arguments in COMMANDS.items():
        used: tuple[list[float], list[float]] = ([], [])
        for _ in range(1 if setup.small else 5):
            used[0].append(processor_seconds(arguments))
            used[1].append(processor_seconds(LIBRARIES))
        yield harness.timed("start", name, harness.Timing(*used), 0.0)


def processor_seconds(arguments: list[str]) -> float:
    """The processor time that a new Python takes, of the user and the system."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


if __name__ == "__main__":
    harness.main("start", str(__doc__).partition("\n")[0], cases)

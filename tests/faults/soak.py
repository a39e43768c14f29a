"""One study of many small runs in one process: memory, open files, threads and temporary files stay flat.

`python -m tests.faults.soak --runs 200` (`make soak`); its table goes into docs/reliability.md.
"""

import argparse
import ctypes
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

LEAK = 0.5  # MB a run: torch's allocator wanders by some MB, and a leak of a run's activations or model is several MB each time


@dataclass
class Look:
    """What this process holds after a run."""

    run: int
    memory: float  # MB of resident memory, after what is free was given back
    files: int
    threads: int
    temporary: int


def look(run: int) -> Look:
    """Look at this process."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    files, temporary = len(os.listdir("/proc/self/fd")), len(os.listdir(tempfile.gettempdir()))
    return Look(run, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, int(status["Threads"]), temporary)


def growth(looks: Sequence[Look]) -> float:
    """Return the MB that a run adds: the median slope between the halves (Theil and Sen), the first fifth left out to warm up."""
    settled = looks[len(looks) // 5 :]
    half = len(settled) // 2
    return statistics.median(
        (b.memory - a.memory) / (b.run - a.run) for a, b in zip(settled, settled[half:], strict=False)
    )


def soak(folder: Path, runs: int) -> list[Look]:
    """Run a study of so many runs, and look after each."""
    from holdfast.studies import executors, runner

    looks: list[Look] = []
    honest = runner._tune

    def watched(work: executors.Work) -> tuple[Path, str]:
        outcome = honest(work)
        assert not outcome[1], outcome[1]
        looks.append(look(len(looks)))
        return outcome

    fields: dict[str, Any] = {"limit": 2, "shots": (0,), "seeds": runs // 4}
    fields["set"] = {"model.steps": 1, "model.batch_size": 2, "model.validation_limit": 0}
    methods = [
        "full",
        "lora",
        "full+kl_base",
        "prompt_tuning@prompt.steps=1,prompt.batch_size=2,prompt.validation_limit=0,prompt.length=2",
    ]
    with mock.patch.object(runner, "_tune", watched):
        runner.study("lab", methods, ["lab:elicit-sentiment"], ["lab:count"], out=folder / "study", **fields)
    return looks


def main() -> None:
    """Print what was held at the beginning, in the middle and at the end; exit 1 where it grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = str(Path(folder) / "tmp")
        Path(tempfile.tempdir).mkdir()
        looks = soak(Path(folder), arguments.runs)
    for number in sorted({0, len(looks) // 5, len(looks) // 2, len(looks) - 1}):
        print(json.dumps(asdict(looks[number])))
    grown, seconds = growth(looks), time.monotonic() - began
    flat = (
        grown < LEAK
        and looks[-1].files <= looks[len(looks) // 5].files
        and looks[-1].temporary <= looks[len(looks) // 5].temporary
    )
    print(f"{len(looks)} runs in {seconds:.0f} s: {grown:+.3f} MB a run, {'flat' if flat else 'grows'}")
    sys.exit(not flat)


if __name__ == "__main__":
    main()

"""What every benchmark shares: two ways of doing the same, timed alternately in one process, and one line a result.

    python -m benchmarks.NAME [--json] [--small] [--cpu-time] [--model FOLDER] [--bf16]

`--small` takes seconds instead of minutes, and its ratios mean less. `--cpu-time` counts the processor time of this process instead of
the clock: on a busy machine, and with OMP_NUM_THREADS=1, the ratios still mean something then.
`--model` takes a pretrained model and rows of real tasks in the place of random weights and words; `--bf16` computes training steps
under bfloat16 autocast.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
_clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True, slots=True)
class Setup:
    """The choices of a command line: sizes of seconds (`small`), a pretrained model's folder (None: random weights), bfloat16 autocast."""

    small: bool = False
    model: Path | None = None
    bf16: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of two ways, measured in turn: the rounds of each."""

    ours: list[float]
    theirs: list[float]

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest ratio of one round."""
        ratios = [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        return min(ratios), max(ratios)


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison. `ours` and `theirs` are medians in seconds, or bytes; `ratio` is theirs / ours: above 1, we win."""

    benchmark: str
    case: str
    ours: float
    theirs: float
    max_difference: float
    """The largest difference between what the two computed, as the benchmark's text says."""
    ratio: float = 0.0
    spread: tuple[float, float] | None = None
    threads: int = THREADS
    unit: str = "s"
    facts: dict[str, float] = field(default_factory=dict)
    """What else was measured on the way, by name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", self.theirs / self.ours if self.ours else float("inf"))

    @property
    def line(self) -> str:
        """For people."""
        spread = f" ({self.spread[0]:.2f} to {self.spread[1]:.2f})" if self.spread else ""
        facts = "".join(f"  {name} {value:.4g}" for name, value in self.facts.items())
        return (
            f"{self.case:<44} ours {_amount(self.ours, self.unit)}  theirs {_amount(self.theirs, self.unit)}  "
            f"{self.ratio:5.2f}x{spread}  largest difference {self.max_difference:.1e}{facts}"
        )


def timed(benchmark: str, case: str, timing: Timing, max_difference: float, **facts: float) -> Result:
    """The result of a timing."""
    ours, theirs = median(timing.ours), median(timing.theirs)
    return Result(benchmark, case, ours, theirs, max_difference, spread=timing.spread, facts=facts)


def alternate(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> Timing:
    """Seconds of each, measured in turn, so that whatever else the machine does falls on both."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            times[which].append(seconds((ours, theirs)[which]))
    return Timing(*times)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, once."""
    start = _clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return _clock() - start


def in_process(code: str) -> dict[str, float]:
    """Run Python in a process of its own; the JSON object of its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    if done.returncode:
        # Below zero: the number of the signal that ended it.
        raise RuntimeError(f"a process of the benchmark failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def resident(name: str) -> int:
    """A line of this process's status in bytes: VmRSS is what it holds, VmHWM the most it ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def above_the_start(work: Callable[[], object]) -> int:
    """The most bytes that this process held while it worked, less what it held before."""
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # The most ever held becomes what is held now.
    work()
    return resident("VmHWM") - before


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within, libraries neither warn nor print."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def main(name: str, description: str, cases: Callable[[Setup], Iterator[Result]]) -> None:
    """Run `cases(setup)` and print every result as it comes: a line of text, or with `--json` an object."""
    global _clock
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; the ratios mean less")
    parser.add_argument("--cpu-time", action="store_true", help="processor time of the process instead of the clock")
    parser.add_argument("--model", type=Path, help="a pretrained model's folder, in the place of random weights")
    parser.add_argument("--bf16", action="store_true", help="training steps under bfloat16 autocast")
    options = parser.parse_args()
    _clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(THREADS)
    for result in cases(Setup(options.small, options.model, options.bf16)):
        print(json.dumps(asdict(result)) if options.json else result.line, flush=True)


def _amount(value: float, unit: str) -> str:
    return f"{value / 1e6:9.1f} MB" if unit == "bytes" else f"{value:9.3f} {unit}"

"""What every benchmark shares: two ways of doing the same, timed alternately in one process, and one line a result."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median

import torch

THREADS = 2


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
    threads: int = THREADS

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", self.theirs / self.ours)


def alternate(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of each, measured in turn, so that whatever else the machine does falls on both."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            start = time.perf_counter()
            (ours, theirs)[which]()
            times[which].append(time.perf_counter() - start)
    return median(times[0]), median(times[1])


def main(name: str, description: str, cases: Callable[[bool], Iterator[Result]]) -> None:
    """Run `cases(small)` and print every result as it comes: a line of text, or with `--json` an object."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; the ratios mean less")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    for result in cases(options.small):
        if options.json:
            print(json.dumps(asdict(result)), flush=True)
        else:
            print(
                f"{result.case:<44} ours {result.ours:9.3f} s  theirs {result.theirs:9.3f} s  {result.ratio:5.2f}x  "
                f"largest difference {result.max_difference:.1e}",
                flush=True,
            )

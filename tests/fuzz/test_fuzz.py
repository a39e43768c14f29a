"""No input that somebody else wrote ends in a traceback, a hang or a memory blow-up: it is read, or refused in one clear line.

By default a few inputs of each sort; HOLDFAST_FUZZ says how many in all, parted among the readers (`make fuzz`: 100,000).
"""

import os
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import targets

FEW = 20  # inputs of each sort by default
SLOWEST = 20.0  # seconds of the processor for one input
MEMORY = (
    3 << 30
)  # bytes of address space beyond what the process has: what blows up ends in a MemoryError, which is a failure
LONGEST = 40_000  # characters of a message
PARTS = {name: target.part for name, target in targets().items()}
TOTAL = int(os.environ.get("HOLDFAST_FUZZ", "0"))
EACH = settings(
    max_examples=FEW,
    deadline=None,
    database=None,
    derandomize=True,
    # A reader that refuses most inputs, and one on a busy machine that is slow, are as they should be.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module", autouse=True)
def tallied() -> Iterator[None]:
    """Bound this process's memory, and print what was done."""
    pages, before = int(Path("/proc/self/statm").read_text().split()[0]), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    for name, counts in DONE.items():
        print(f"\n{name}: {sum(counts.values())} inputs, {counts['read']} read, {counts['refused']} refused", end="")
    print(
        f"\n{sum(map(Counter.total, DONE.values()))} inputs in all, at most {SLOW[0]:.1f} s for one ({SLOW[1]}), peak memory {peak} MB"
    )


DONE: dict[str, Counter[str]] = {}
SLOW: list = [0.0, ""]


@pytest.mark.parametrize("name", PARTS)
def test_any_input_is_read_or_refused_in_one_clear_line(name: str) -> None:
    target, counts = targets()[name], DONE.setdefault(name, Counter())

    def check(data: bytes) -> None:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = "read"
            try:
                target.read(data, Path(folder))
            except (ValueError, OSError) as error:
                message = str(error)
        counts["read" if message == "read" else "refused"] += 1
        assert 0 < len(message.strip()) < LONGEST
        SLOW[:] = max(SLOW, [time.process_time() - began, name])
        assert time.process_time() - began < SLOWEST

    if TOTAL:  # Without Hypothesis, whose own work costs ten times that of most readers.
        for number in range(round(TOTAL * PARTS[name] / sum(PARTS.values()))):
            data = target.inputs(Random(f"{name}:{number}"))
            try:
                check(data)
            except Exception as error:
                error.add_note(f"input {number} of {name}: {data[:2000]!r}")
                raise
        return
    EACH(given(st.randoms(use_true_random=False))(lambda draw: check(target.inputs(draw))))()

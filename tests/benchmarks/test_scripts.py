"""Every benchmark runs at its small size, and finds both sides equal; what the numbers say is for a quiet machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.all import EQUAL, LIMITS, NOISE

HOUSE = Path(__file__).resolve().parents[2]
KEYS = {"benchmark", "case", "ours", "theirs", "ratio", "max_difference", "threads"}
EXTRA = {"training": "trl", "memory": "trl", "scoring": "lm_eval", "scaling": "lm_eval"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LIMITS, "gpu"])
def test_a_benchmark_runs_and_finds_equal_results(name: str) -> None:
    if name in EXTRA:
        pytest.importorskip(EXTRA[name])
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--json", "--small"],
        cwd=HOUSE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results
    for result in results:
        assert result.keys() >= KEYS
        assert result["ours"] > 0, result
        assert result["theirs"] > 0, result
        assert result["max_difference"] <= EQUAL.get(name, NOISE), result

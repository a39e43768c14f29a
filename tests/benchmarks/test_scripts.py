"""Every benchmark runs at its small size, and finds both sides equal; what the numbers say is for a quiet machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import lab_and_real
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


@pytest.mark.slow
@pytest.mark.parametrize("how", [[], ["--ask"]])
def test_reporting_measures_every_step_and_a_page_that_is_small(how: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reporting", "--json", "--small", *how],
        cwd=HOUSE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *steps, page = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step["case"].partition(",")[0] for step in steps[1:]] == [
        "statistics", "write scores and answers", "write the harness's samples", "page", "model card",
    ]  # fmt: skip
    assert all(step["ours"] > 0 and step["memory"] > 0 for step in steps)
    assert 10_000 < page["bytes"] < 2_000_000


def test_the_lab_is_compared_with_a_real_model_over_the_arms_of_both() -> None:
    """On a committed study against itself every rank is the same; the bugs: arms paired by rate, or a mean over other targets."""
    folder = HOUSE / "docs/studies/real-first"
    shared = lab_and_real.pairs(folder, folder)
    assert len(shared) == 17
    assert all(pair.first == pair.second for pair in shared)
    # The three rates of full fine-tuning, from the lowest to the highest.
    assert [pair.name for pair in shared if pair.name.startswith("full, rate")] == [
        f"full, rate {n}" for n in (1, 2, 3)
    ]
    kept = [(value, value) for pair in shared if (value := pair.first["kept"]) is not None]
    rho, low, _, p = lab_and_real.correlation(kept)
    assert (rho, low) == (pytest.approx(1.0), pytest.approx(1.0))
    assert p < 0.001

"""`accelerate launch --num_processes 2` on CPU trains to the same losses as one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import tiny

ROOT = Path(__file__).parents[2]


def launch(processes: int, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        str(processes),
        "--num_machines",
        "1",
    ]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    script = [str(Path(__file__).with_name("two_processes.py")), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command + script, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_train_to_the_losses_of_one(tmp_path: Path) -> None:
    """Five ragged rows on two processes: an average per process, instead of over all tokens, would differ by more than 1e-2."""
    launch(1, tmp_path / "one")
    launch(2, tmp_path / "two")
    for name in ("full", "prompt"):
        one, two = tiny.losses(tmp_path / "one" / name), tiny.losses(tmp_path / "two" / name)
        assert len(one) == 6
        assert two == pytest.approx(one, abs=1e-4)  # noise of another order of summation over 6 steps: 1e-6

"""Two processes on CPUs train to what one trains to, under either launcher, and go on as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.methods.base import Method
from holdfast.training import processes
from tests.training import tiny, two_processes

ROOT = Path(__file__).parents[2]
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    # By the file that users are given.
    "accelerate": [
        *["accelerate.commands.launch", "--config_file", "docs/examples/launch/processes.yaml"],
        *["--dynamo_backend", "no", "--main_process_port", "0"],
    ],
}


def launch(launcher: list[str], folder: Path) -> None:
    folder.mkdir()
    command = [sys.executable, "-m", *launcher, two_processes.__file__, str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS)
def test_two_processes_train_to_what_one_trains_to_and_resume_exactly(tmp_path: Path, launcher: list[str]) -> None:
    launch(launcher, tmp_path / "two")
    found: list[dict[str, Any]] = [
        json.loads((tmp_path / "two" / f"process-{rank}.json").read_text()) for rank in (0, 1)
    ]
    assert [process["world"] for process in found] == [2, 2], "a launcher that starts one process tests nothing"
    assert all(process["patience"] == processes.PATIENCE.total_seconds() for process in found)
    assert all(process["random states differ"] for process in found), "one state for both would not be told from two"

    for name, method in (("full", two_processes.Full()), ("prompt", two_processes.PromptTuning(length=4))):
        one = two_processes.trained(tmp_path / "one" / name, method)
        # Noise of another order of summation over 6 steps: 1e-6 of losses of 4, 1e-4 of sums of a thousand weights. Five ragged rows:
        # an average per process, instead of over all tokens, would differ by more than 1e-2.
        assert len(tiny.losses(tmp_path / "two" / name)) == 6  # One process writes.
        assert tiny.losses(tmp_path / "two" / name) == pytest.approx(tiny.losses(tmp_path / "one" / name), abs=1e-4)
        assert found[0][name] == found[1][name]
        assert found[0][name] == pytest.approx(one, abs=2e-2)

    for process in found:
        assert process["resumed"] == process["dropout"] == found[0]["dropout"]
    fewer = two_processes.trained(tmp_path / "two" / "fewer", two_processes.Full(), Method())
    assert fewer == pytest.approx(found[0]["full"], abs=2e-2), (
        "two processes' checkpoint, gone on with by one: the noise above"
    )
    assert tiny.losses(tmp_path / "two" / "resumed") == tiny.losses(tmp_path / "two" / "dropout")


def test_processes_that_cannot_work_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would train alone, and all would write the same files."""
    processes.processes()  # This one process, connected to none.
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"2 processes were launched .*cannot work together"):
        processes.processes()


def test_a_launcher_that_starts_one_process_for_several_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name, value in {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    processes._say_where_one_was_launched_for_several.cache_clear()
    processes.processes()
    processes.processes()
    processes._say_where_one_was_launched_for_several.cache_clear()
    said = capsys.readouterr().err
    assert said.count("accelerate launch started one process") == 1
    assert "torchrun --nproc_per_node N -m holdfast" in said


@pytest.mark.parametrize(
    ("name", "variable", "reason"),
    [
        ("FSDP1", "ACCELERATE_USE_FSDP", "makes one vector of frozen weights and of those that move"),
        (
            "DeepSpeed",
            "ACCELERATE_USE_DEEPSPEED",
            "takes the optimizer's step itself, which is the training loop's here",
        ),
    ],
)
def test_a_launcher_that_would_shard_the_weights_otherwise_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, variable: str, reason: str
) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match=f"{name}: is not supported, because it {reason}; launch with FSDP2"):
        processes.processes()

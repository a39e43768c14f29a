"""A study on a Ray cluster of two nodes, one of which is killed in the middle: every run is there once, and equal to local ones."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from holdfast.results.study import read
from holdfast.studies import executors, runner
from tests.studies.test_runner import world as tiny_world

world = tiny_world  # the fixture: a tiny random model and three tasks
ARMS = {"full": {"model.learning_rate": 1e-2}, "half_fine_tuning": {"model.learning_rate": 1e-2}}
SETTINGS = {"model.steps": 30, "model.batch_size": 4, "model.save_every": 5, "model.validation_limit": 0}


def run(world: Path, out: Path, executor: executors.Executor) -> None:
    runner.study(
        str(world / "model"), ARMS, [str(world / "pick")], [str(world / "copy")], out=out, seeds=3, limit=4, shots=(0,),
        set=SETTINGS, executor=executor,
    )  # fmt: skip


def values(out: Path) -> dict[str, list[tuple[object, ...]]]:
    scores: dict[str, list[tuple[object, ...]]] = {}
    for path in sorted((out / "runs").iterdir()):
        records = [json.loads(line) for line in (path / "scores.jsonl").read_text().splitlines()]
        scores[path.name] = [(r["variant"], r["task"], r["metric"], r["value"]) for r in records]
    return scores


@pytest.mark.slow
def test_a_node_that_is_killed_loses_no_run_and_none_is_counted_twice(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="the extra `scale` is not installed")
    from ray.cluster_utils import Cluster

    root = str(Path(runner.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    out = tmp_path / "ray"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=1)
    killed, ended = threading.Event(), threading.Event()

    def kill() -> None:
        # Two leases are two runs, and each node has a core for one.
        while not ended.is_set() and len(list(out.glob("runs/*/.lock-lease"))) < 2:
            time.sleep(0.02)
        if not ended.is_set():
            cluster.remove_node(lost, allow_graceful=False)
            killed.set()

    try:
        ray.init(address=cluster.address, log_to_driver=False)
        killer = threading.Thread(target=kill)
        killer.start()
        run(world, out, "ray")
        ended.set()
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert killed.is_set(), "the runs ended before the node was killed, so that nothing was tested"
    run(world, tmp_path / "local", "local")
    assert values(out) == values(tmp_path / "local")
    studies = [read(path) for path in (out, tmp_path / "local")]
    assert not studies[0].failed
    assert [(cell.arm, cell.seeds) for cell in studies[0].cells] == [(arm, 3) for arm in ARMS]
    assert [c.target for c in studies[0].cells] == [c.target for c in studies[1].cells]
    assert not list(out.rglob(".lock-lease*")), "a lease that nobody gave back"


def test_an_executor_that_cannot_be_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="executor='slurm': there is none of this name; use local or ray"):
        executors.check("slurm", 1)
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package ray; pip install 'holdfast\[scale\]'"):
        executors.check("ray", 1)
    monkeypatch.setattr(executors, "find_spec", lambda name: object())
    with pytest.raises(ValueError, match="leave --jobs out"):
        executors.check("ray", 2)

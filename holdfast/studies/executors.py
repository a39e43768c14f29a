"""Executors of a study's runs: this process, several beside it, or tasks of a Ray cluster."""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

Executor = Literal["local", "ray"]
Do = Callable[["Work"], tuple[Path, str]]  # Do one run; return its folder, and the reason why it failed.
KILLED = "a process was killed (out of memory?)"
RETRIES = 5  # Of a run whose machine was lost. One that fails by itself is not tried again.


@dataclass(frozen=True)
class Work:
    """A run of a study: its folder, the arguments of `tune` with the `versions` that it depends on, and a line that announces it."""

    path: Path
    arguments: dict[str, Any]
    announced: str


def check(executor: str, jobs: int) -> None:
    """Refuse an executor that cannot be, before anything is loaded.

    Raises:
        ValueError: there is none of this name, or its package is missing.
    """
    if executor not in ("local", "ray"):
        raise ValueError(f"executor={executor!r}: there is none of this name; use local or ray")
    if executor == "ray" and find_spec("ray") is None:
        raise ValueError("executor=ray: needs the package ray; pip install 'holdfast[scale]'")
    if executor == "ray" and jobs > 1:
        raise ValueError("executor=ray: the cluster's resources say how many runs go at a time; leave --jobs out")


def local(do: Do, work: Sequence[Work], jobs: int) -> Iterator[tuple[Path, str]]:
    """Yield runs as they end, `jobs` at a time with one thread each.

    Where a process is killed, the runs under way are done again one at a time, from their last checkpoints, and then the others go on: one
    run that takes too much memory must not cost a night's others. One that is killed alone too has failed.
    """
    if jobs == 1:
        yield from map(do, work)
        return
    waiting = deque(work)
    while waiting:
        lost = yield from _side_by_side(do, waiting, jobs)
        if lost:
            print(f"holdfast: {KILLED}; the runs under way are done again, one at a time", file=sys.stderr, flush=True)
        for run in lost:
            if (yield from _side_by_side(do, deque([run]), 1)):
                yield (
                    run.path,
                    f"{KILLED} while it ran alone; give it less memory to take: a smaller batch, or --dtype bf16",
                )


def _side_by_side(do: Do, waiting: deque[Work], jobs: int) -> Generator[tuple[Path, str], None, list[Work]]:
    """Yield runs as they end, until none waits; or until a process is killed: return the runs that were under way then."""
    under_way: dict[Future[tuple[Path, str]], Work] = {}
    # spawn: a forked process would inherit torch's thread pools in whatever state they are, and can hang.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), one_thread) as pool:
        try:
            while waiting or under_way:
                # No more than can run: of a pool that breaks, nobody can tell which of its runs had begun.
                while waiting and len(under_way) < jobs:
                    under_way[pool.submit(do, waiting[0])] = waiting[0]
                    waiting.popleft()  # Only now: a pool may have broken, and then this one has not begun.
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield future.result()
                    del under_way[future]
        except BrokenProcessPool:
            return list(under_way.values())
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return []


def on_ray(do: Do, work: Sequence[Work], resources: Mapping[str, float]) -> Iterator[tuple[Path, str]]:
    """Yield runs as they end, each a task of the Ray cluster that RAY_ADDRESS names (of this machine, without it).

    The study's folder is the store of results, and must be the same on all machines. A run whose machine is lost is done again on another,
    where it goes on from its last checkpoint; the lease of its folder keeps two from working there at once.
    """
    import ray
    from ray.exceptions import RayError

    began = not ray.is_initialized()
    if began:
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    try:
        task = ray.remote(max_retries=RETRIES, num_cpus=resources["cpu"], num_gpus=resources["gpu"])(_alone)
        waiting = {task.remote(do, run): run.path for run in work}
        while waiting:
            ended, _ = ray.wait(list(waiting), num_returns=1)
            path = waiting.pop(ended[0])
            try:
                yield ray.get(ended[0])
            except RayError as error:
                yield path, f"was lost with its machine, {RETRIES} times over: {str(error).splitlines()[0]}"
    finally:
        if began:
            ray.shutdown()


def resources(device: str) -> dict[str, float]:
    """Return what a run needs of a machine: one core, and one GPU where it computes on GPUs."""
    return {"cpu": 1.0, "gpu": float(device == "cuda" or (device == "auto" and torch.cuda.is_available()))}


def one_thread() -> None:
    """Compute with one thread in this process."""
    # `jobs` processes with a thread for each core would fight for the cores; and sums in one order are the same with any number of jobs.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def _alone(do: Do, run: Work) -> tuple[Path, str]:
    one_thread()
    return do(run)

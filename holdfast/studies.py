"""Many runs: a study over methods, targets and seeds, and finished runs side by side."""

import itertools
import multiprocessing
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from holdfast import runs
from holdfast.recipes import base as recipes
from holdfast.report import units
from holdfast.report.summary import Summary
from holdfast.scores import read_scores, write_jsonl
from holdfast.stages import sources


@dataclass(frozen=True)
class Cell:
    """A method on a target over its training seeds: means, and standard deviations between seeds.

    `target` is the tuned model's score there, `gain` its change to the base, `general_change` the mean change on the general
    tasks, all in points of 100; `retention` is per cent of the base's mean. None where nothing was measured.
    """

    task: str
    method: str
    seeds: int
    target: float
    target_sd: float
    gain: float
    general_change: float | None
    general_change_sd: float | None
    retention: float | None
    retention_sd: float | None


def study(
    model: str,
    methods: Sequence[str],
    targets: Sequence[str],
    general: Sequence[str] = (),
    *,
    out: str | Path,
    seeds: int = 3,
    shots: Sequence[int] = (0, 1),
    limit: int | None = None,
    jobs: int = 1,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Cell]:
    """Tune with every method on every target with every seed, then put the results together in `study.jsonl`.

    Each run is a folder of its own below `out/runs`; called again, finished ones are skipped and a killed one goes on. With `jobs` above 1
    that many runs go at a time, with one thread each. Every field in `fields` must exist in every method's stages.
    """
    for name in methods:
        recipes.find(name)
    for name in (*targets, *general):
        sources.load_tasks(name)
    plan = [
        {
            "model": model,
            "task": target,
            "method": method,
            "general": list(general),
            "shots": tuple(shots),
            "limit": limit,
            "seed": seed,
            "out": str(folder(out, target, method, seed)),
            **{f"{stage}.{key}": value for stage, given in (fields or {}).items() for key, value in given.items()},
        }
        for target, method, seed in itertools.product(targets, methods, range(seeds))
    ]
    if jobs == 1:
        for arguments in plan:
            runs.tune(**arguments)
    else:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _one_thread) as pool:
            list(pool.map(_tune, plan))
    cells = [
        cell(target, method, [folder(out, target, method, seed) for seed in range(seeds)])
        for target, method in itertools.product(targets, methods)
    ]
    write_jsonl(Path(out) / "study.jsonl", cells)
    return cells


def folder(out: str | Path, target: str, method: str, seed: int) -> Path:
    """Where a study keeps one run."""
    short = target.rstrip("/").rpartition("/")[2].replace(":", "-")
    return Path(out) / "runs" / f"{short}--{method.rpartition(':')[2]}--{seed}"


def cell(task: str, method: str, folders: Sequence[Path]) -> Cell:
    """Means over runs that differ by their seed only."""
    summaries = [Summary.of(read_scores(path)) for path in folders]
    first = [min(s.first_metric("target"), key=lambda line: line.shots) for s in summaries]
    scores = [line.headline for line in first]
    values = [s.value * (units.factor(s.metric, s.value) or 1.0) for s in scores if s]
    kept = [s.retention.value for s in summaries if s.retention]
    changes = [s.general_change.value for s in summaries if s.general_change]
    return Cell(
        task=task,
        method=method,
        seeds=len(folders),
        target=statistics.fmean(values),
        target_sd=_sd(values),
        gain=statistics.fmean(s.gain.value for s in summaries if s.gain),
        general_change=statistics.fmean(changes) if changes else None,
        general_change_sd=_sd(changes) if changes else None,
        retention=statistics.fmean(kept) if kept else None,
        retention_sd=_sd(kept) if kept else None,
    )


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _one_thread() -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def _tune(arguments: dict[str, Any]) -> None:
    runs.tune(**arguments)


def records(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Cells as JSON objects."""
    return [asdict(one) for one in cells]


def run_records(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The scores of several runs as JSON objects, each with its run's folder."""
    return [asdict(score) | {"run": str(folder)} for folder in folders for score in read_scores(folder)]

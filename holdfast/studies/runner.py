"""Run a study: arms x targets x seeds, each run resumable, several at a time, then what follows from them together."""

import contextlib
import itertools
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from holdfast.api import tune as runs
from holdfast.api.versions import library_versions
from holdfast.atomic_files import write_text
from holdfast.models import chat_date, resolve
from holdfast.models.fingerprint import fingerprint
from holdfast.report.study.study_page import write_study_page
from holdfast.results.scores import read_scores
from holdfast.results.study import Study
from holdfast.results.summary import Summary
from holdfast.studies import results
from holdfast.studies.plan import MOMENTS, Arm, Plan, arms_of, make, tasks_of
from holdfast.tasks import sources

DONE = "done.json"  # in a run's folder, written last: what the run was made of
FIXED = ("model", "general", "shots", "limit", "curve", "date")  # what all runs in one folder have in common


def study(
    model: str,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
    targets: Sequence[str],
    general: Sequence[str] = (),
    *,
    out: str | Path,
    jobs: int = 1,
    **options: Any,
) -> Study:
    """Tune with every method on every target with every seed, and put the results together in `study.jsonl` and `study.html`.

    `methods` are names, `method@stage.field=value` or the `arms` of a `Plan`, whose other fields are `options`. Called again, finished
    runs are skipped and a killed one goes on; further methods, targets and seeds may be added.
    """
    arms = methods if isinstance(methods, Mapping) else arms_of(methods)
    given = {"model": model, "arms": arms, "targets": list(targets), "general": list(general), **options}
    return run(make(given), out, jobs)


def run(plan: Plan, out: str | Path, jobs: int = 1) -> Study:
    """A whole study. A run that fails is left out of the results and named in `Study.failed`; the others go on.

    Raises:
        ValueError: the folder holds a study with another model, other general tasks, shots, limit or points.
    """
    folder = Path(out)
    plan = _claim(plan, folder)
    arms = plan.resolved()
    # Seeds outermost: a study that is stopped half way has all of its arms.
    places = [(t, arm, s) for s, t, arm in itertools.product(range(plan.seeds), plan.targets, arms)]
    versions = {target: _versions(plan, target) for target in plan.targets}
    work = [
        (place(folder, t, arm, s), _arguments(plan, folder, t, arm, s) | {"versions": versions[t]})
        for t, arm, s in places
    ]
    failed = _work(work, jobs)
    finished = {
        (target, arm.name, seed): path
        for (target, arm, seed), (path, _) in zip(places, work, strict=True)
        if path.name not in failed
    }
    found = results.study(plan.targets, arms, plan.seeds, finished, plan.match)
    found = replace(found, failed=sorted(failed.items()))
    found.write(folder)
    write_study_page(folder)
    return found


def place(out: Path, target: str, arm: Arm, seed: int) -> Path:
    """Where a study keeps one run."""
    short = "+".join(task.rstrip("/").rpartition("/")[2].replace(":", "-") for task in tasks_of(target))
    name = "".join(c if c.isalnum() or c in "-_.=+@," else "-" for c in arm.name.rpartition("/")[2])
    return out / "runs" / f"{short}--{name}--{seed}"


def _claim(plan: Plan, folder: Path) -> Plan:
    """Make the folder this study's own, and return the plan with the date on which it began."""
    path = folder / "study.yaml"
    before = yaml.safe_load(path.read_text()) if path.exists() else {}
    plan = replace(plan, date=plan.date or before.get("date") or chat_date.today())
    given = asdict(plan)
    if before:
        changed = [key for key in FIXED if key in before and before[key] != _plain(given[key])]
        if changed:
            raise ValueError(
                f"{folder}: holds a study with another {', '.join(changed)}; its runs would not compare, so give another --out"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump({k: _plain(v) for k, v in given.items()}, sort_keys=False, allow_unicode=True))
    return plan


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _arguments(plan: Plan, folder: Path, target: str, arm: Arm, seed: int) -> dict[str, Any]:
    return {
        "model": plan.model,
        "task": tasks_of(target),
        "method": arm.method,
        "general": plan.general,
        "shots": plan.shots,
        "limit": plan.limit,
        "curve": plan.curve,
        "analyses": plan.analyses,
        "seed": seed,
        "date": plan.date,
        "out": place(folder, target, arm, seed),
        "stage_root": folder / "stages",
        # Only what an arm has: the marks of runs from before these techniques stay valid.
        **{moment: name for moment in MOMENTS if (name := getattr(arm, moment))},
        **arm.settings,
    }


def _work(work: Sequence[tuple[Path, dict[str, Any]]], jobs: int) -> dict[str, str]:
    """Do every run, `jobs` at a time with one thread each; returns what went wrong, by the run's name."""
    failed: dict[str, str] = {}
    began = time.monotonic()
    for done, (path, wrong) in enumerate(_finished(work, jobs), 1):
        if wrong:
            failed[path.name] = wrong
        left = (time.monotonic() - began) / done * (len(work) - done)
        said = f"failed: {wrong}" if wrong else _headline(path)
        print(f"[{done}/{len(work)}] {path.name}: {said} (about {_time(left)} left)", file=sys.stderr, flush=True)
    return failed


def _finished(work: Sequence[tuple[Path, dict[str, Any]]], jobs: int) -> Iterator[tuple[Path, str]]:
    if jobs == 1:
        yield from (_one(path, arguments) for path, arguments in work)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _one_thread) as pool:
        try:
            paths = {pool.submit(_one, path, arguments): path for path, arguments in work}
            for future in as_completed(paths):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    yield paths[future], "its process, or one beside it, was killed (out of memory?); use fewer --jobs"
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _versions(plan: Plan, target: str) -> list[Any]:
    """The content of model and tasks, and the code: with the arguments, what a finished run depends on."""
    tasks = [sources.load_task(n) for name in (*tasks_of(target), *plan.general) for n in sources.expand(name)]
    model = fingerprint(resolve.resolve(plan.model))
    return [model, *(task.version for task in tasks), library_versions()]


def _one(path: Path, arguments: dict[str, Any]) -> tuple[Path, str]:
    """One run, unless its mark says that it is done; what it says goes to a file of its own, because several speak at a time."""
    mark, text = path / DONE, json.dumps(arguments, default=str, indent=1)
    if mark.exists() and mark.read_text() == text:
        return path, ""
    arguments = {key: value for key, value in arguments.items() if key != "versions"}
    log = path.parent.parent / "logs" / f"{path.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file, contextlib.redirect_stderr(file):
        try:
            runs.tune(**arguments)
        except (ValueError, OSError) as error:
            return path, str(error)
        except Exception as error:  # A fault of ours or of a library's: it ends one run, and not a night's others.
            traceback.print_exc()
            return path, f"{type(error).__name__}: {error} ({log} has the traceback)"
    write_text(mark, text)
    return path, ""


def _one_thread() -> None:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def _headline(path: Path) -> str:
    summary = Summary.of(read_scores(path))
    target = f"target {summary.target_value.value:.1f}" if summary.target_value else "no target score"
    return target + (f", keeps {summary.retention.value:.1f} %" if summary.retention else "")


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"

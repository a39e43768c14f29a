"""Run a study: arms x targets x seeds, each run resumable, several at a time, then what follows from them together."""

import hashlib
import itertools
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from holdfast.api import tune as runs
from holdfast.api.preview import about
from holdfast.api.request import general_of
from holdfast.api.versions import library_versions
from holdfast.atomic_files import write_text
from holdfast.models import chat_date, resolve
from holdfast.models.precision import Dtype
from holdfast.plugins import unknown
from holdfast.recipes import describe
from holdfast.recipes.assignments import nested
from holdfast.report.study.study_page import write_study_page
from holdfast.results.scores import read_scores
from holdfast.results.study import Study
from holdfast.results.summary import Summary
from holdfast.studies import executors, results
from holdfast.studies.plan import MOMENTS, Arm, Plan, arms_of, make, tasks_of
from holdfast.studies.run_output import logged
from holdfast.studies.weights import Rounds
from holdfast.tasks import sources
from holdfast.tasks.task import SHOTS
from holdfast.tasks.yaml_files import read_yaml

MOST_RUNS = 100_000  # of a study
LONGEST_NAME = 200  # bytes of a run's folder's name: file systems take 255
LOGS = "logs"  # in a study's folder: a file for each run
DONE = "done.json"  # in a run's folder, written last: what the run was made of
FIXED = (
    "model",
    "general",
    "shots",
    "limit",
    "curve",
    "date",
    "dtype",
    "demonstrations",
)  # what all runs in one folder have in common


def study(
    model: str | Path,
    methods: str | Sequence[str] | Mapping[str, Mapping[str, Any] | None],
    targets: str | Path | Sequence[str | Path],
    general: str | Path | Sequence[str | Path] | None = None,
    *,
    out: str | Path,
    jobs: int = 1,
    executor: executors.Executor = "local",
    seeds: int = 3,
    shots: Sequence[int] = SHOTS,
    limit: int | None = None,
    curve: int = 0,
    match: float | None = None,
    analyses: Sequence[str] = (),
    set: Mapping[str, Any] | None = None,
    dtype: Dtype = "auto",
    device: str = "auto",
    demonstrations: str = "first",
    keep_weights: bool = True,
    date: str | None = None,
    **mistyped: NoReturn,
) -> Study:
    """Tune with every method on every target with every seed, and put the results together in `study.jsonl` and `study.html`.

    `methods` are names, `method@stage.field=value` or the `arms` of a `Plan`, which says what the other arguments are. Called again,
    finished runs are skipped and a killed one goes on; further methods, targets and seeds may be added. With `executor` "ray" the runs
    are tasks of a Ray cluster (`holdfast.studies.executors`).

    Raises:
        ValueError: there is no argument of such a name (the nearest is named), or the plan is wrong; nothing was written then.
    """
    plan_fields = {
        "model": str(model),
        "arms": methods
        if isinstance(methods, Mapping)
        else arms_of([methods] if isinstance(methods, str) else methods),
        "targets": list(sources.arguments(targets)),
        "general": None if general is None else list(sources.arguments(general)),
        "seeds": seeds,
        "shots": tuple(shots),
        "limit": limit,
        "curve": curve,
        "match": match,
        "analyses": list(analyses),
        "set": dict(set or {}),
        "dtype": dtype,
        "device": device,
        "demonstrations": demonstrations,
        "keep_weights": keep_weights,
        "date": date,
    }
    if mistyped:  # A type checker and an editor refuse any of these; Python's own error names no neighbour.
        arguments = {"methods", "out", "jobs", "executor", *plan_fields} - {"arms"}
        raise unknown("argument of study:", next(iter(mistyped)), sorted(arguments))
    return run(make(plan_fields), out, jobs, executor)


def run(plan: Plan, out: str | Path, jobs: int = 1, executor: executors.Executor = "local") -> Study:
    """Run a whole study. A run that fails is left out of the results and named in `Study.failed`; the others go on.

    Raises:
        ValueError: the folder holds a study with another model, other general tasks, shots, limit or points; or the executor cannot be.
    """
    executors.check(executor, jobs)
    folder = Path(out)
    if executor == "ray":
        folder = folder.resolve()  # A task starts in another folder.
    plan = _claim(plan, folder)
    arms = plan.resolved()
    if (count := plan.seeds * len(plan.targets) * len(arms)) > MOST_RUNS:
        raise ValueError(
            f"a study of {count:,} runs; a study has at most {MOST_RUNS:,}, so take fewer seeds, arms or targets"
        )
    # Seeds outermost: a study that is stopped half way has all of its arms.
    triples = [(t, arm, s) for s, t, arm in itertools.product(range(plan.seeds), plan.targets, arms)]
    # Once a target: to hash the model and load the tasks for each run would take longer than to see that it is finished.
    versions = {target: _versions(plan, target) for target in plan.targets}
    work = [
        executors.Work(
            run_path(folder, t, arm, s),
            _arguments(plan, folder, t, arm, s) | {"versions": versions[t]},
            f"run {number} of {len(triples)} begins: {arm.name} on {t}, seed {s}",
        )
        for number, (t, arm, s) in enumerate(triples, 1)
    ]
    _check_folders(work)
    _warn(arms)
    before = {made.path for made in work if _finished(made)}
    counts = f"{len(arms)} x {len(plan.targets)} x {plan.seeds} runs (arms x targets x seeds)"
    again = f"; {len(before)} of them were finished before" if before else ""
    print(
        f"holdfast: {counts}{again}; all that each says goes to {folder / LOGS}",
        file=sys.stderr,
        flush=True,
    )
    ended = (
        executors.local(_tune, work, jobs)
        if executor == "local"
        else executors.on_ray(_tune, work, executors.resources(plan.device))
    )
    of_run = {made.path: (target, seed) for (target, _, seed), made in zip(triples, work, strict=True)}
    failed = _work(ended, len(work), before, None if plan.keep_weights else Rounds(of_run, folder / "stages"))
    finished = {
        (target, arm.name, seed): made.path
        for (target, arm, seed), made in zip(triples, work, strict=True)
        if made.path.name not in failed
    }
    outcome = results.study(plan.targets, arms, plan.seeds, finished, plan.match)
    outcome = replace(outcome, failed=sorted(failed.items()))
    outcome.write(folder)
    write_study_page(folder)
    return outcome


def run_path(out: Path, target: str, arm: Arm, seed: int) -> Path:
    """Return the folder in which a study keeps one run."""
    # Readable names, because they are seen in logs; only characters that every file system takes.
    short = "+".join(task.rstrip("/").rpartition("/")[2].replace(":", "-") for task in tasks_of(target))
    name = "".join(c if c.isalnum() or c in "-_.=+@," else "-" for c in arm.name.rpartition("/")[2])
    label = f"{short}--{name}--{seed}"
    if len(label.encode()) <= LONGEST_NAME:
        return out / "runs" / label
    digest = hashlib.sha256(f"{target}\n{arm.name}".encode()).hexdigest()[:12]
    return out / "runs" / f"{label.encode()[: LONGEST_NAME - 30].decode(errors='ignore')}--{digest}--{seed}"


def _warn(arms: Sequence[Arm]) -> None:
    """Print which settings are far from what is usual, once for each arm that has them: a run's own warnings go into its log."""
    for arm in arms:
        for sentence in describe.unusual(arm.techniques, nested(arm.settings)):
            print(f"holdfast: arm {arm.name}: {sentence}", file=sys.stderr, flush=True)


def _check_folders(work: Sequence[executors.Work]) -> None:
    """Refuse runs that would take each other's folder: targets or arms of one name, in different folders.

    Raises:
        ValueError: there are such.
    """
    names = Counter(made.path for made in work)
    if twice := [path.name for path, count in names.items() if count > 1]:
        raise ValueError(
            f"{twice[0]}: two runs would have this folder, because targets or arms differ in what stands before the last / alone; "
            "rename one of them"
        )


def _claim(plan: Plan, folder: Path) -> Plan:
    """Make the folder this study's own, and return the plan with the date on which it began.

    Raises:
        ValueError: the folder holds a study that differs in one of the `FIXED` fields.
    """
    path = folder / "study.yaml"
    before = read_yaml(path, "it is not that of a study; give another --out") if path.exists() else {}
    if not isinstance(before, dict):
        raise ValueError(f"{path}: is not the plan of a study; give another --out")
    # Kept from the first day: with a new date in their prompts, runs of a study that goes on would not compare with the finished ones.
    plan = replace(plan, date=plan.date or before.get("date") or chat_date.today())
    # Likewise where none are named: a study goes on with those that it began with.
    general = before.get("general") if plan.general is None else plan.general
    targets = list(itertools.chain.from_iterable(map(tasks_of, plan.targets)))
    plan = replace(plan, general=list(general_of(plan.model, targets, general)))
    # Begun before there were precisions: in another, the runs to come would not compare with the finished ones.
    if before and before.setdefault("dtype", "fp32") == "fp32" and plan.dtype == "auto":
        plan = replace(plan, dtype="fp32")
    plan_fields = asdict(plan)
    if before:
        changed = [key for key in FIXED if key in before and before[key] != _plain(plan_fields[key])]
        if changed:
            raise ValueError(
                f"{folder}: holds a study with another {', '.join(changed)}; its runs would not compare, so give another --out"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(
        path, yaml.safe_dump({k: _plain(v) for k, v in plan_fields.items()}, sort_keys=False, allow_unicode=True)
    )
    return plan


def _plain(value: Any) -> Any:
    # YAML has no tuples: what is read back is a list, and must be equal to what is compared with it.
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
        "out": run_path(folder, target, arm, seed),
        "stage_root": folder / "stages",
        "dtype": plan.dtype,
        "device": plan.device,
        **({} if plan.demonstrations == "first" else {"demonstrations": plan.demonstrations}),
        # Only what an arm has: the marks of runs from before these techniques stay valid.
        **{moment: name for moment in MOMENTS if (name := getattr(arm, moment))},
        **arm.settings,
    }


def _work(
    ended: Iterable[tuple[Path, str]], count: int, before: Collection[Path], rounds: Rounds | None
) -> dict[str, str]:
    """Print runs as they end, of `count`, and drop the weights of `rounds`; return the failures' reasons by the run's name.

    The runs `before` were finished before: they take no time, and tell nothing about what is left.
    """
    failed: dict[str, str] = {}
    began, made = time.monotonic(), 0
    for done, (path, wrong) in enumerate(ended, 1):
        if wrong:
            failed[path.name] = wrong
        elif rounds:
            rounds.ended(path)
        message = f"failed: {wrong}" if wrong else _headline(path)
        made += path not in before
        if made and (missing := count - len(before) - made):
            message += f" (about {about((time.monotonic() - began) / made * missing)} left)"
        print(f"[{done}/{count}] {path.name}: {message}", file=sys.stderr, flush=True)
    return failed


def _versions(plan: Plan, target: str) -> list[Any]:
    """Return the versions of model, tasks and libraries: with the arguments, all that a finished run depends on."""
    names = itertools.chain.from_iterable(sources.expand(name) for name in (*tasks_of(target), *(plan.general or ())))
    tasks = [sources.load_task(name) for name in names]
    model = resolve.version(plan.model)
    return [model, *(task.version for task in tasks), library_versions()]


def _mark(work: executors.Work) -> str:
    """Return the mark of a run that is done: everything that its numbers depend on."""
    # Without what changes no number, and without float32: marks from before there were precisions stay valid.
    counted = {k: v for k, v in work.arguments.items() if (k, v) != ("dtype", "fp32") and k != "device"}
    return json.dumps(counted, default=str, indent=1)


def _finished(work: executors.Work) -> bool:
    mark = work.path / DONE
    return mark.exists() and mark.read_text(encoding="utf-8") == _mark(work)


def _tune(work: executors.Work) -> tuple[Path, str]:
    """Do one run, unless its mark says that it is done; return its path and the reason why it failed ("" where it did not)."""
    path = work.path
    if _finished(work):
        return path, ""
    print(work.announced, file=sys.stderr, flush=True)
    arguments = {key: value for key, value in work.arguments.items() if key != "versions"}
    log = path.parent.parent / LOGS / f"{path.name}.txt"
    with logged(log, path.name):
        try:
            runs.tune(**arguments)
        except (ValueError, OSError) as error:
            return path, str(error)
        except Exception as error:  # A fault of ours or of a library's: it ends one run, and not a night's others.
            traceback.print_exc()
            return path, f"{type(error).__name__}: {error} ({log} has the traceback)"
    # Last: a run without its mark is taken up again, and one with it is never looked at.
    write_text(path / DONE, _mark(work))
    return path, ""


def _headline(path: Path) -> str:
    summary = Summary.of(read_scores(path))
    target = f"target {summary.target_value.value:.1f}" if summary.target_value else "no target score"
    return target + (f", keeps {summary.retention.value:.1f} %" if summary.retention else "")

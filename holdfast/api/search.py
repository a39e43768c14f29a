"""Search dials: run a pipeline at one value after another, measure each on validation examples, and choose by a stated rule."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from holdfast.atomic_files import write_text
from holdfast.recipes.pipeline import Search
from holdfast.recipes.sweep import Dial, Values, rounded
from holdfast.results.run_folder import RunFolder
from holdfast.results.sweep import SweepPoint, choose, read_sweep
from holdfast.stages.stage import Stage, digest
from holdfast.stages.validation import TaskValues, Validation
from holdfast.training.processes import processes


def search(run: Search, validation: Validation, curve: int, root: Path, folder: Path) -> Values:
    """Return the chosen values. Each point is written to `sweep.jsonl` as soon as it is measured, so a killed search goes on there.

    A single dial is tried at every value of its grid. Several are tried at what Optuna proposes (TPE), first at the fields' defaults.

    Raises:
        ValueError: several dials turn and Optuna is not installed.
    """
    path, main = RunFolder(folder).sweep_file, processes().is_main_process
    key = _key(run, validation, curve)
    references: tuple[TaskValues, TaskValues] | None = None
    while True:
        # Read by every process, which therefore all propose the same.
        points = [point for point in read_sweep(path) if point.key == key]
        if any(point.chosen for point in points):
            return next(point.settings for point in points if point.chosen)
        values = propose(run, points)
        if values is None:
            break
        pipeline, _ = run.pipeline(values, curve)
        stages = validation.execute(pipeline.stages, root)
        if main:
            measured = validation.values(stages, pipeline.decoding, root)
            if references is None:
                references = _reference(run, validation, points, measured[0], stages, root), validation.base()
            validation.clear(stages, root)
            point = SweepPoint.of(values, measured, references, key)
            print(f"{point.label}: {point.shares}; {len(points) + 1} of {_planned(run)}", file=sys.stderr, flush=True)
            _write(path, [*points, point])
        processes().wait_for_everyone()
    best = choose(points, weight=run.sweep.rule.weight, floor=run.sweep.rule.floor)
    if main:
        reason = run.sweep.rule.reason(best.target)
        print(f"{best.label} is chosen, with {best.shares} ({reason})", file=sys.stderr, flush=True)
        _write(path, [replace(point, chosen=point is best) for point in points])
    processes().wait_for_everyone()
    return best.settings


def _reference(
    run: Search,
    validation: Validation,
    points: Sequence[SweepPoint],
    first: TaskValues,
    stages: list[Stage],
    root: Path,
) -> TaskValues:
    """Return what the targets' metrics are shares of."""
    if not run.sweep.trains:
        return validation.tuned(stages, root)
    return {name: points[0].tasks[name] for name in first} if points else first


def _key(run: Search, validation: Validation, curve: int) -> str:
    """Return eight digits that stand for the stages and for what the tasks hold: points of changed ones are no points of this search."""
    stages = run.pipeline(run.candidates[0], curve)[0].stages
    content = [*map(digest, stages), *(ref.version for ref in validation.tasks), validation.limit]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def _write(path: Path, points: Sequence[SweepPoint]) -> None:
    write_text(path, "".join(json.dumps(asdict(point)) + "\n" for point in points))


def _planned(run: Search) -> int:
    return len(run.candidates) if len(run.sweep.dials) == 1 else run.sweep.rule.trials


def propose(run: Search, points: Sequence[SweepPoint]) -> Values | None:
    """Return the values to try after those of `points`; None where enough were tried. The same points give the same proposal."""
    if len(points) >= _planned(run):
        return None
    if len(run.sweep.dials) == 1:
        return run.candidates[len(points)]
    optuna = load_optuna()
    distributions = {dial.name: _distribution(optuna, dial) for dial in run.sweep.dials}
    refused: list[Any] = []
    rule = run.sweep.rule
    defaults = run.defaults
    if not points and defaults is not None:
        return defaults
    # Values that do not fit together are told as failures; what is drawn next depends on their number alone.
    while len(refused) < 100:
        sampler = optuna.samplers.TPESampler(seed=run.plan.seed + 1000 * len(points) + len(refused))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for point in points:
            measured = {"params": dict(point.settings), "distributions": distributions}
            study.add_trial(optuna.trial.create_trial(**measured, value=point.score(rule.weight, rule.floor)))
        drawn = study.ask(distributions).params
        values = {dial.name: _as_written(dial, drawn[dial.name]) for dial in run.sweep.dials}
        try:
            run.pipeline(values)
            return values
        except ValueError as error:
            refused.append(error)
    raise ValueError(f"{run.sweep.name}: of 100 proposals none fits ({refused[-1]}); narrow the ranges")


def _as_written(dial: Dial, value: Any) -> Any:
    # Within the range still, where rounding went beyond its end.
    return value if dial.values else min(max(rounded(value), dial.low), dial.high)


def _distribution(optuna: Any, dial: Dial) -> Any:
    if dial.values:
        return optuna.distributions.CategoricalDistribution(dial.values)
    return optuna.distributions.FloatDistribution(dial.low, dial.high, log=dial.log)


def load_optuna() -> Any:
    """Import Optuna, silent about its trials.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise ValueError(
            "several dials are swept, which needs Optuna: pip install 'holdfast[sweep]', or sweep one"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna

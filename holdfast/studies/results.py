"""The results of a study from its runs: means over seeds, matched target scores, paired tests, what stage 1 predicts."""

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from holdfast.results import tradeoff, units
from holdfast.results.cell_answers import CellAnswers
from holdfast.results.measure_panel import OUTSIDE
from holdfast.results.metric_rule import Array
from holdfast.results.metrics import metric
from holdfast.results.run_folder import RunFolder, read_findings
from holdfast.results.scores import ROLES, Score, StoredOutputs, read_scores
from holdfast.results.study import (
    EQUAL,
    FEWEST_TARGETS,
    AnalysisPoint,
    Cell,
    Comparison,
    Prediction,
    Spread,
    Study,
    TaskScore,
    Trajectory,
)
from holdfast.results.summary import Summary, TaskResult, share
from holdfast.results.verdicts import holm
from holdfast.studies.plan import Arm

RESAMPLES = 2000
BLOCK = 1 << 22  # counts that are held at a time
EXCHANGES = 9_999  # random orders of the targets, where there are too many to try all
SHARE = 0.9  # of the way from the base to the best arm: where arms are matched by default
Runs = Mapping[tuple[str, str, int], Path]  # the folders of the finished runs by target, arm and seed


def study(targets: Sequence[str], arms: Sequence[Arm], seeds: int, runs: Runs, match: float | None = None) -> Study:
    """Return everything that follows from the finished runs; `match` is as in `Plan`."""
    scores = {run: read_scores(folder) for run, folder in runs.items()}
    edited = {arm.name for arm in arms if arm.edit}
    courses = [
        Trajectory(
            target, arm, seed, tradeoff.stage_one(run), tradeoff.points(run, edited=arm in edited), arm in edited
        )
        for (target, arm, seed), run in scores.items()
    ]
    cells, answered, comparisons = [], [], []
    for target in targets:
        # Of an arm whose runs all failed there is nothing to say; it is named in `Study.failed`.
        present = [arm for arm in arms if any((target, arm.name, seed) in runs for seed in range(seeds))]
        of_target = [course for course in courses if course.task == target]
        measured = {
            arm.name: {
                seed: _measures(scores[target, arm.name, seed], of_target, arm.name, seed, match)
                | {"drift": _drift(runs[target, arm.name, seed])}
                for seed in range(seeds)
                if (target, arm.name, seed) in runs
            }
            for arm in present
        }
        cells += [_cell(target, arm, of_target, measured[arm.name], match) for arm in present]
        for arm in present:
            answered += _answered(target, arm.name, [scores[run] for run in runs if run[:2] == (target, arm.name)])
        comparisons += _compare(target, present, measured, runs)
    looks = _looks(runs)
    return Study(cells, _corrected(comparisons), _predictions(cells, courses, scores, arms), courses, answered, looks)


def _looks(runs: Runs) -> list[AnalysisPoint]:
    """Return the runs' analyses over their steps, each measure's mean over the blocks or tasks that it was taken of."""
    looks = []
    for (target, arm, seed), folder in runs.items():
        groups: dict[tuple[str, str, int], list[float]] = {}
        for record in read_findings(folder):
            # Embeddings and head are no block: their size would decide a mean over blocks.
            if record.step is not None and record.where != OUTSIDE:
                groups.setdefault((record.analysis, record.measure, record.step), []).append(record.value)
        looks += [AnalysisPoint(target, arm, seed, *key, statistics.fmean(values)) for key, values in groups.items()]
    return looks


def level(courses: Sequence[Trajectory], match: float | None) -> float | None:
    """Return the target score at which arms are matched: `match`, else 90 % of the way from the base to the best arm's mean."""
    ends: dict[str, list[float]] = {}
    for course in courses:
        if course.points:
            # The best point and not the last: a run that has passed its best did reach that score.
            ends.setdefault(course.arm, []).append(max(point.target for point in course.points))
    if match is not None or not ends:
        return match
    base = _start(courses)
    return base + SHARE * (max(map(statistics.fmean, ends.values())) - base)


def _start(courses: Sequence[Trajectory]) -> float:
    """Return the base's own target score."""
    # The lowest start: of a run with a prompt from an earlier stage, step 0 has that prompt's score, which is higher.
    return min(course.points[0].target for course in courses if course.points)


Measures = dict[str, float | None]


def _measures(
    scores: Sequence[Score], courses: Sequence[Trajectory], arm: str, seed: int, match: float | None
) -> Measures:
    summary = Summary.of(scores)
    course = next(c for c in courses if (c.arm, c.seed) == (arm, seed))
    at, shares = level(courses, match), share(summary.symptom("format_share"))
    # One range for all arms, else an arm that reaches less would be judged on the easy part alone.
    top = max((point.target for point in itertools.chain.from_iterable(c.points for c in courses)), default=0.0)
    return {
        "target": summary.target_value.value if summary.target_value else None,
        "gain": summary.gain.value if summary.gain else None,
        "change": summary.general_change.value if summary.general_change else None,
        "kept": summary.retention.value if summary.retention else None,
        "matched": tradeoff.matched(course.points, at) if at is not None and course.followed else None,
        "area": tradeoff.area(course.points, _start(courses), top) if course.followed else None,
        "stage_one": course.stage_one,
        "format_share": shares[1] if shares else None,
        "transfer": summary.transfer.value if summary.transfer else None,
    }


def _cell(
    task: str, arm: Arm, courses: Sequence[Trajectory], measured: Mapping[int, Measures], match: float | None
) -> Cell:
    names = next(iter(measured.values()))
    spreads: dict[str, Any] = {name: Spread.of([measures[name] for measures in measured.values()]) for name in names}
    return Cell(task, arm.name, arm.techniques.label, arm.settings, len(measured), level(courses, match), **spreads)


def _drift(run: Path) -> float | None:
    """Return the change of the weights, per cent of the norm they had, mean over blocks; None where it was not analysed."""
    records = [r for r in read_findings(run) if r.measure == "relative_norm" and r.where != OUTSIDE]
    # The last step that was analysed; a finding of the finished run's weights alone has no step, and counts as 0.
    end = max((record.step or 0 for record in records), default=0)
    moved = [100 * record.value for record in records if (record.step or 0) == end]
    return statistics.fmean(moved) if moved else None


def _answered(target: str, arm: str, runs: Sequence[Sequence[Score]]) -> list[TaskScore]:
    """Return every task of an arm by its own metric, over the seeds."""
    lines: dict[tuple[str, str, int], list[TaskResult]] = {}
    for scores in runs:
        summary = Summary.of(scores)
        for line in itertools.chain.from_iterable(map(summary.by_own_metric, ROLES)):
            lines.setdefault((line.task, line.role, line.shots), []).append(line)
    task_scores = []
    for (task, role, shots), results in lines.items():
        values = [_points(line.headline) for line in results]
        # The base is the same model in every run, so the first run's measurement stands for all.
        base, floored = _points(results[0].base), results[0].floored
        task_scores.append(TaskScore(target, arm, task, role, shots, base, Spread.of(values), floored))
    return task_scores


def _points(score: Score | None) -> float | None:
    scale = units.factor(score.metric) if score else None
    return None if score is None or scale is None else score.value * scale


def _compare(
    task: str, arms: Sequence[Arm], measured: Mapping[str, Mapping[int, Measures]], runs: Runs
) -> list[Comparison]:
    """Return every arm against the first, by target score, general change, and what is kept at the matched score."""
    if len(arms) < 2:
        return []

    @cache
    def draws(arm: str, of_seeds: tuple[int, ...]) -> dict[str, Array]:
        return _draws([runs[task, arm, seed] for seed in of_seeds])

    first, *others = [arm.name for arm in arms]
    comparisons = []
    for arm, name in itertools.product(others, ("target", "change", "matched", "area")):
        # Paired by seed: equal seeds see equal rows in equal order.
        both = tuple(s for s in measured[arm] if s in measured[first])
        pairs = [(measured[arm][s][name], measured[first][s][name]) for s in both]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if not differences:
            continue
        spread = Spread.of(differences)
        assert spread is not None
        low, high = spread.interval or (None, None)
        # Retention at a matched score is a point between two evaluations, so it has no items that could be resampled.
        theirs, ours = draws(arm, both), draws(first, both)
        p_items = _two_sided(theirs[name] - ours[name]) if name in theirs and name in ours else None
        comparisons.append(
            Comparison(task, arm, first, name, spread.mean, low, high, p_items, paired_t(differences), len(differences))
        )
    return comparisons


def paired_t(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of Student's paired t over seeds; None of fewer than two, or where they never differ in size."""
    if (
        len(differences) < 2 or max(differences) - min(differences) < EQUAL
    ):  # without a spread t is infinite, and p would be 0
        return None
    return float(stats.ttest_1samp(differences, 0.0).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def _two_sided(draws: Array) -> float:
    """Return the share of resamples that put the difference on the other side of zero, doubled."""
    least = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    # + 1: the sample itself is one of the draws, so p is never zero.
    return min(1.0, 2 * (least + 1) / (len(draws) + 1))


def _draws(folders: Sequence[Path]) -> dict[str, Array]:
    """Return the target score and the mean over general tasks under resampled items, `[RESAMPLES]` in points, mean over seeds.

    Items are resampled within each task, the same for every arm and seed, so that differences are paired.
    """
    resampled: dict[tuple[str, str], list[Array]] = {}
    for folder in folders:
        summary = Summary.of(read_scores(folder))
        judged = [*summary.by_own_metric("target"), *summary.by_own_metric("general")]
        metrics = {line.task: line.metric for line in judged}
        floored = {(line.task, line.shots) for line in summary.floored}  # these count in no mean, as in `Summary`
        cells: dict[tuple[str, str, int], CellAnswers] = {}
        for output in StoredOutputs([RunFolder(folder).outputs_file]):
            wanted = {"target": ("on", None), "general": ("off", None)}.get(output.role, ())
            at_floor = output.role == "general" and (output.task, output.shots) in floored
            if output.variant == "tuned" and output.prompt in wanted and not at_floor:
                key = (output.role, output.task, output.shots)
                if key not in cells:
                    cells[key] = CellAnswers(output, metric(metrics[output.task]), keep=False)
                cells[key].add(output)
        for (role, task, shots), cell in cells.items():
            if role == "target" and shots != min(k for group, name, k in cells if (group, name) == (role, task)):
                continue
            task_metric, items = cell.metric, cell.sums()
            if task_metric.scale is None:  # has no points, and cannot be averaged with others
                continue
            # A draw's counts are by position: all arms have their items in one order.
            draws = [task_metric.aggregate(counts @ items, cell.n) for counts in _counts(task, len(items))]
            values = np.concatenate(draws)
            resampled.setdefault((role, task), []).append(100 / task_metric.scale * values)
    means = {group: np.mean(values, 0) for group, values in resampled.items()}
    result = {}
    for role, name in (("target", "target"), ("general", "change")):
        if of_role := [values for (group_role, _), values in means.items() if group_role == role]:
            result[name] = np.mean(of_role, 0)
    return result


def _counts(task: str, n: int) -> Iterator[Array]:
    """Yield the number of times that each of n items (or groups of them) is drawn, in blocks `[some, n]` that make `RESAMPLES` draws: the
    same for every arm and seed on this task."""
    # Seeded by the name and not by Python's hash, which differs between processes.
    rng, left = np.random.default_rng([n, *task.encode()]), RESAMPLES
    while left:
        # In blocks of 32 MB at most: the counts of all draws of 100,000 items would be 1.6 GB.
        rows = min(left, max(1, BLOCK // n))
        yield rng.multinomial(n, np.full(n, 1 / n), rows).astype(np.float64)
        left -= rows


def _corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """Return the comparisons with p values corrected (Holm) over all of one measure and one of the two tests."""
    records = [vars(comparison).copy() for comparison in comparisons]
    for measure, test in itertools.product({comparison.measure for comparison in comparisons}, ("p_items", "p_seeds")):
        family = [record for record in records if record["measure"] == measure and record[test] is not None]
        for record, p in zip(family, holm([record[test] for record in family]), strict=True):
            record[test] = p
    return [Comparison(**record) for record in records]


def _predictions(
    cells: Sequence[Cell],
    courses: Sequence[Trajectory],
    scores: Mapping[tuple[str, str, int], Sequence[Score]],
    arms: Sequence[Arm],
) -> list[Prediction]:
    """Return the tests of the stage-1 score against retention at the end and at the matched score, and the advantage over the first arm."""
    levels = {cell.task: cell.level for cell in cells}
    rows: dict[str, list[tuple[str, float, float]]] = {}
    by_run = {(course.task, course.arm, course.seed): course for course in courses}
    for run, course in by_run.items():
        if course.stage_one is None or not course.points:
            continue
        at = levels[course.task]
        end = Summary.of(scores[run]).retention
        kept = tradeoff.matched(course.points, at) if at is not None and course.followed else None
        other = by_run.get((course.task, arms[0].name, course.seed))
        theirs = tradeoff.matched(other.points, at) if other and other.followed and at is not None else None
        measures = {
            "what the run keeps": end.value if end else None,
            "what it keeps at the matched score": kept,
            f"its advantage there over {arms[0].name}": None if kept is None or theirs is None else kept - theirs,
        }
        for name, value in measures.items():
            if value is not None:
                rows.setdefault(name, []).append((course.task, course.stage_one, value))
    return [prediction for name, group in rows.items() if (prediction := predicts(name, group))]


def predicts(measure: str, pairs: Sequence[tuple[str, float, float]]) -> Prediction | None:
    """Return whether one number predicts `measure`, from (target, number, measure) of each run; None where either never varies.

    Runs of one target resemble each other, whatever the arm and the seed, so the targets' means are correlated and whole targets
    exchanged: every order of up to 7 targets, else `EXCHANGES` random ones. Equal rank correlations are told apart by that of the means
    themselves, which makes the steps of p as fine as the number of orders allows.
    """
    by_target: dict[str, list[tuple[float, float]]] = {}
    for target, number, other in pairs:
        by_target.setdefault(target, []).append((number, other))
    means = np.array([np.mean(group, 0) for group in by_target.values()])
    count = len(means)
    runs = np.array([pair[1:] for pair in pairs], dtype=float)
    if len(pairs) < 4 or np.ptp(runs[:, 0]) == 0 or np.ptp(runs[:, 1]) == 0:
        return None
    if count < FEWEST_TARGETS or np.ptp(means[:, 0]) == 0 or np.ptp(means[:, 1]) == 0:
        return Prediction(measure, 0.0, None, len(pairs), count)
    ranks = np.stack([stats.rankdata(column) for column in means.T], 1)
    if count <= 7:
        orders = np.array(list(itertools.permutations(range(count))))
    else:
        rng = np.random.default_rng(0)
        orders = np.array([np.arange(count), *(rng.permutation(count) for _ in range(EXCHANGES))])
    # The first order is the one observed. 1e-6 of the second statistic breaks ties of the first and moves nothing else.
    size = np.abs(_correlation(ranks, orders)) + 1e-6 * np.abs(_correlation(means, orders))
    p = float((size >= size[0] - 1e-12).mean())
    return Prediction(measure, float(_correlation(ranks, orders[:1])[0]), p, len(pairs), count)


def _correlation(columns: Array, orders: NDArray[np.int64]) -> Array:
    """Return the correlations of the first column `[T]` with the second in each order `[N, T]`."""
    first, second = (columns - columns.mean(0)).T
    return second[orders] @ first / math.sqrt(float((first**2).sum() * (second**2).sum()))

"""Compute every score of a run from its outputs: values, paired changes, symptoms, verdicts, each in its circumstances."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from holdfast.results import symptoms
from holdfast.results.metrics import Array, Metric, metric
from holdfast.results.scores import Circumstances, Output, Score
from holdfast.results.statistics import RESAMPLES, Estimate, covariance, paired, pseudovalues, single
from holdfast.results.verdicts import MARGIN, judge
from holdfast.tasks.task import Task

AGAIN = "base-again"  # the base measured a second time
OWN = "own-stage"  # a target right after the stage that trained on it, before later ones moved the model
CellKey = tuple[str, str | None, str, int, int | None]  # variant, prompt, task, shots, step


@dataclass(frozen=True)
class Resampling:
    """The seed and the number of resamples from which a resampled interval is made."""

    seed: int = 0
    resamples: int = RESAMPLES


def score(
    outputs: Iterable[Output],
    tasks: Iterable[Task],
    *,
    margin: float = MARGIN,
    floor: float = 0.0,
    resamples: int = RESAMPLES,
    circumstances: Circumstances | None = None,
) -> list[Score]:
    """Return every number that follows from the outputs, each with interval and circumstances, and with the paired change from the base.

    One score a cell (variant, prompt, task, shots, step) by the task's metric, and for general tasks (not for diagnostics) the symptoms
    of format collapse (`holdfast.results.symptoms`). The base's outputs are those with variant "base"; its value by those with
    "base-again" stands in `Score.again`, and no smaller change is called gained or lost; the tuned model's change since those with
    "own-stage" stands in `Score.transfer`. `margin` and `floor` are as in
    `holdfast.results.verdicts.judge`; `circumstances` are what the runner knows, to which each cell's own are added.

    Raises:
        ValueError: a cell was asked other items than its base, or belongs to a task that is not among `tasks`.
    """
    runner = circumstances or Circumstances()
    drawn = Resampling(runner.seed, resamples)
    known = {task.name: task for task in tasks}
    cells: dict[CellKey, list[Output]] = defaultdict(list)
    for output in outputs:
        cells[output.variant, output.prompt, output.task, output.shots, output.step].append(output)
    target_names = dict.fromkeys(cell[0].task for cell in cells.values() if cell[0].role == "target")
    targets = [known[name] for name in target_names if name in known]
    # Symptoms describe what tuning did: of a base alone there is nothing to say.
    compared = bool(targets) or any(key[0] == "tuned" for key in cells)
    scores: list[Score] = []
    for key, cell in cells.items():
        if key[2] not in known:
            raise ValueError(f"outputs of the task {key[2]!r}, which is not among those given: {', '.join(known)}")
        if key[0] in (
            AGAIN,
            OWN,
        ):  # no scores of their own: they become a field of the score that they are compared with
            continue
        # In the order of the items, because a change is paired item by item and batches may have come in any order.
        task, cell = known[key[2]], sorted(cell, key=lambda output: output.index)
        base = None if key[0] == "base" else _beside(cell, cells.get(("base", None, *key[2:4], None)))
        task_metric = metric(task.metric)
        estimated = {task_metric.name: _estimates(task_metric, cell, base, drawn)}
        if cell[0].role == "general" and compared:
            signs = symptoms.symptoms(base, cell, symptoms.foreign_to_all(targets, task))
            # Along the way only the symptoms that are drawn as curves: the others would fill scores.jsonl unread.
            estimated |= {name: signs[name] for name in signs if key[4] is None or name in symptoms.ALONG}
        scores += [
            _score(name, task_metric if name == task_metric.name else None, cell, task, *estimates, runner)
            for name, estimates in estimated.items()
        ]
        # The task's own metric is the first of `estimated`, so its score stands `len(estimated)` from the end.
        if key[0] == "base" and (second := cells.get((AGAIN, *key[1:]))):
            scores[-len(estimated)] = replace(scores[-len(estimated)], again=task_metric.value(second))
        if key[0] == "tuned" and (before := _beside(cell, cells.get((OWN, *key[1:])))):
            _, moved = _estimates(task_metric, cell, before, drawn)
            assert moved is not None
            named = {"transfer": moved.value, "transfer_low": moved.low, "transfer_high": moved.high}
            scores[-len(estimated)] = replace(scores[-len(estimated)], **named)
    return judge(_with_covariances(scores, cells, known), margin=margin, floor=floor)


def _with_covariances(
    scores: Sequence[Score], cells: Mapping[CellKey, Sequence[Output]], tasks: Mapping[str, Task]
) -> list[Score]:
    """Return the scores, each task's own metric with `Score.covariances`: that of a mean is the covariance of the items over n."""
    series: dict[CellKey, tuple[list[int], Array]] = {}
    shots: dict[str, list[int]] = {}
    for key, cell in cells.items():
        task_metric, ordered = metric(tasks[key[2]].metric), sorted(cell, key=lambda output: output.index)
        series[key] = [output.index for output in ordered], pseudovalues(task_metric, task_metric.statistics(ordered))
        shots.setdefault(key[2], []).append(key[3])
    completed = []
    for score in scores:
        covariances = {}
        if score.metric == metric(tasks[score.task].metric).name:
            items, values = series[score.variant, score.prompt, score.task, score.shots, score.step]
            for count in dict.fromkeys(shots[score.task]):
                base: CellKey = ("base", None, score.task, count, None)
                same: CellKey = (score.variant, score.prompt, score.task, count, score.step)
                for key in dict.fromkeys((base, same)):  # for a base score the two are one
                    if (
                        key in series and series[key][0] == items
                    ):  # other items: no covariance that the sample could tell
                        covariances[f"{key[0]} {count}"] = covariance(series[key][1], values)
        completed.append(replace(score, covariances=covariances))
    return completed


def _beside(cell: Sequence[Output], other: Sequence[Output] | None) -> list[Output] | None:
    """Return another cell's answers to the same items in the same order; None where there is no such cell.

    Raises:
        ValueError: the two cells were asked different items, or in different words.
    """
    if other is None:
        return None
    other = sorted(other, key=lambda output: output.index)
    # The input too: with another template or other demonstrations the index is the same and the item is not.
    if [(o.index, o.input) for o in other] != [(o.index, o.input) for o in cell]:
        raise ValueError(
            f"{cell[0].task}, {cell[0].shots} shots: {other[0].variant} and {cell[0].variant} were asked different items or in "
            "different words, so their difference says nothing; evaluate both with one task, limit and seed"
        )
    return other


def _estimates(
    task_metric: Metric, cell: Sequence[Output], base: Sequence[Output] | None, drawn: Resampling
) -> tuple[Estimate, Estimate | None]:
    items = task_metric.statistics(cell)
    value = single(task_metric, items, **asdict(drawn))
    return value, None if base is None else paired(task_metric, task_metric.statistics(base), items, **asdict(drawn))


def _score(
    name: str,
    task_metric: Metric | None,
    cell: Sequence[Output],
    task: Task,
    value: Estimate,
    change: Estimate | None,
    runner: Circumstances,
) -> Score:
    first, ranked = cell[0], task_metric is not None and cell[0].logprobs is not None
    # A set: choices that are spelled alike are one answer. Only of the task's own metric, because symptoms are not guessed.
    guess = [1 / len(set(output.choices)) for output in cell if output.choices] if ranked else []
    return Score(
        variant=first.variant,  # pyright: ignore[reportArgumentType]
        prompt=first.prompt,  # pyright: ignore[reportArgumentType]
        task=first.task,
        role=first.role,  # pyright: ignore[reportArgumentType]
        shots=first.shots,
        metric=name,
        value=value.value,
        low=value.low,
        high=value.high,
        n=value.n,
        stderr=value.stderr,
        delta=None if change is None else change.value,
        delta_low=None if change is None else change.low,
        delta_high=None if change is None else change.high,
        p=None if change is None else change.p,
        chance=sum(guess) / len(cell),
        truncated=sum(output.truncated for output in cell),
        step=first.step,
        signature=task_metric.signature(cell) if task_metric else "",
        **asdict(_circumstances(runner, task, first)),
    )


def _circumstances(runner: Circumstances, task: Task, first: Output) -> Circumstances:
    """Return the runner's circumstances with those of a cell, whose outputs were all asked as `first` was.

    Outputs of versions that did not write their decoding still tell ranked choices, which have log-likelihoods.
    """
    decoding = first.decoding or ("ranked choices" if first.logprobs is not None else "")
    return replace(
        runner,
        task_version=task.version,
        template=task.template.input,
        demonstrations=first.demonstrations,
        decoding=decoding,
    )

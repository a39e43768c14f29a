"""Compute every score of a run from its outputs: values, paired changes, symptoms, verdicts, each in its circumstances."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from holdfast.results import symptoms
from holdfast.results.cell_answers import CellAnswers
from holdfast.results.metric_rule import Metric
from holdfast.results.metrics import metric
from holdfast.results.scores import Circumstances, Output, Score
from holdfast.results.statistics import RESAMPLES, Estimate, covariance, paired, single
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
    cells = _cells(outputs, known)
    target_names = dict.fromkeys(cell.first.task for cell in cells.values() if cell.first.role == "target")
    targets = [known[name] for name in target_names if name in known]
    # Symptoms describe what tuning did: of a base alone there is nothing to say.
    compared = bool(targets) or any(key[0] == "tuned" for key in cells)
    scores: list[Score] = []
    for key, cell in cells.items():
        if key[0] in (
            AGAIN,
            OWN,
        ):  # no scores of their own: they become a field of the score that they are compared with
            continue
        task, task_metric = known[key[2]], cell.metric
        base = None if key[0] == "base" else _beside(cell, cells.get(("base", None, *key[2:4], None)))
        estimated = {task_metric.name: (cell.estimate(**asdict(drawn)), _change(cell, base, drawn))}
        if other := task_metric.beside:
            estimated[other.name] = _in_other_unit(other, cell, base, drawn)
        answers = cell.ordered_outputs()
        if answers is not None and compared:
            theirs = base.ordered_outputs() if base else None
            signs = symptoms.symptoms(theirs, answers, symptoms.foreign_to_all(targets, task))
            # Along the way only the symptoms that are drawn as curves: the others would fill scores.jsonl unread.
            estimated |= {name: signs[name] for name in signs if key[4] is None or name in symptoms.ALONG}
        rules = {rule.name: rule for rule in (task_metric, task_metric.beside) if rule}
        scores += [
            _score(name, rules.get(name), cell, task, *estimates, runner) for name, estimates in estimated.items()
        ]
        # The task's own metric is the first of `estimated`, so its score stands `len(estimated)` from the end.
        if key[0] == "base" and (second := cells.get((AGAIN, *key[1:]))):
            scores[-len(estimated)] = replace(scores[-len(estimated)], again=second.value())
        if key[0] == "tuned" and (moved := _change(cell, _beside(cell, cells.get((OWN, *key[1:]))), drawn)):
            named = {"transfer": moved.value, "transfer_low": moved.low, "transfer_high": moved.high}
            scores[-len(estimated)] = replace(scores[-len(estimated)], **named)
    return _in_agreement(judge(_with_covariances(scores, cells, known), margin=margin, floor=floor), known)


def _cells(outputs: Iterable[Output], known: Mapping[str, Task]) -> dict[CellKey, CellAnswers]:
    """Return the outputs by cell. Those of general tasks are kept, because symptoms are of answers and not of marks.

    Raises:
        ValueError: a task is not among those known.
    """
    cells: dict[CellKey, CellAnswers] = {}
    for output in outputs:
        key = (output.variant, output.prompt, output.task, output.shots, output.step)
        if key not in cells:
            if output.task not in known:
                raise ValueError(
                    f"outputs of the task {output.task!r}, which is not among those given: {', '.join(known)}"
                )
            task_metric = metric(known[output.task].metric)
            keep = output.role == "general" and not task_metric.reads_target
            cells[key] = CellAnswers(output, task_metric, keep=keep)
        cells[key].add(output)
    return cells


def _with_covariances(
    scores: Sequence[Score], cells: Mapping[CellKey, CellAnswers], tasks: Mapping[str, Task]
) -> list[Score]:
    """Return the scores, each task's own metric with `Score.covariances`: that of a mean is the covariance of the items over n."""
    series = {key: (cell.items, cell.parts()) for key, cell in cells.items()}
    shots: dict[str, list[int]] = {}
    for key in cells:
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
                    # Of other items: no covariance that the sample could tell.
                    if key in series and series[key][0] == items:
                        covariances[f"{key[0]} {count}"] = covariance(series[key][1], values)
        completed.append(replace(score, covariances=covariances))
    return completed


def _beside(cell: CellAnswers, other: CellAnswers | None) -> CellAnswers | None:
    """Return another cell with answers to the same items; None where there is no such cell.

    Raises:
        ValueError: the two cells were asked different items, or in different words.
    """
    if other is not None and other.questions != cell.questions:
        first = cell.first
        raise ValueError(
            f"{first.task}, {first.shots} shots: {other.first.variant} and {first.variant} were asked different items or in "
            "different words, so their difference says nothing; evaluate both with one task, limit and seed"
        )
    return other


def _change(cell: CellAnswers, base: CellAnswers | None, drawn: Resampling) -> Estimate | None:
    if base is None:
        return None
    return paired(cell.metric, base.units(cell), cell.units(base), n=cell.n, **asdict(drawn))


def _in_other_unit(
    other: Metric, cell: CellAnswers, base: CellAnswers | None, drawn: Resampling
) -> tuple[Estimate, Estimate | None]:
    """Return a cell's value and change by another total of the same statistics."""
    units, settings = cell.units(base), {"n": cell.n, **asdict(drawn)}
    change = None if base is None else paired(other, base.units(cell), units, **settings)
    # Without p: it is the same question as the task's own metric, and would count twice among the tests.
    return single(other, units, **settings), change and replace(change, p=None)


def _in_agreement(scores: Sequence[Score], tasks: Mapping[str, Task]) -> list[Score]:
    """Return the scores with the verdict of each task's own metric on its other unit too: it is the same change."""
    judged = {score.key: score for score in scores}
    agreed = []
    for score in scores:
        rule = metric(tasks[score.task].metric)
        if rule.beside and score.metric == rule.beside.name:
            other = judged[replace(score, metric=rule.name).key]
            score = replace(score, verdict=other.verdict, needed=other.needed)
        agreed.append(score)
    return agreed


def _score(
    name: str,
    task_metric: Metric | None,
    cell: CellAnswers,
    task: Task,
    value: Estimate,
    change: Estimate | None,
    runner: Circumstances,
) -> Score:
    # Only of the task's own metric, because symptoms are not guessed.
    first = cell.first
    ranked = task_metric is not None and not task_metric.reads_target and first.logprobs is not None
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
        chance=cell.guess / cell.n if ranked else 0.0,
        truncated=cell.truncated,
        step=first.step,
        signature=task_metric.signature_of(cell.seen) if task_metric else "",
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

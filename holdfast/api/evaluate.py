"""Evaluate a model on tasks without training it: the Python name behind `holdfast evaluate`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, product
from pathlib import Path

from holdfast.api.load import asking
from holdfast.api.measurement import Measurement
from holdfast.api.tune import Run
from holdfast.api.versions import library_versions
from holdfast.decoding.base import Decoding
from holdfast.evaluation.ask import ask, check_askable, unread
from holdfast.evaluation.harness_samples import write_samples
from holdfast.evaluation.progress import AskingProgress, task_items
from holdfast.models.reading import default_general
from holdfast.plugins import refuse_code, snake
from holdfast.results import metrics
from holdfast.results.run_folder import RunFolder, write_results
from holdfast.results.score import score
from holdfast.results.scores import Circumstances, Output, PromptState, Score
from holdfast.results.verdicts import with_spread
from holdfast.stages.stage import exclusive
from holdfast.tasks import sources
from holdfast.tasks.choice_rules import with_rule
from holdfast.tasks.task import Task


def evaluate(
    model: str | Path | Run,
    tasks: str | Path | Sequence[str | Path],
    *,
    prompt: str | Path | None = None,
    base: str | Path | None = None,
    shots: Sequence[int] = (0,),
    limit: int | None = None,
    seed: int = 0,
    demonstrations: str = "first",
    sets: int = 1,
    metric: str | None = None,
    out: str | Path | None = None,
    decode: Decoding | None = None,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> list[Score]:
    """Return the scores of a model on tasks, without training; `model`, `prompt`, `base`, `dtype` and `device` are as in `load`.

    The model may also stand behind a server: `openai:URL#NAME`.

    Demonstrations are the first of the train split, the same for all items, sampled for each item, or the nearest to it by words
    (`nearest:FOLDER`: by a sentence-embedding model); in so many `sets`, the spread between which `Score.over_sets` says.
    With `metric`, one of `choice_rules.RULES`, answers are picked by that rule in all tasks whose items have choices.
    With `decode` everything is asked of that technique around the model.
    With `out`, `scores.jsonl`, `outputs.jsonl` and the harness's samples are written into that folder, which may hold no other
    measurement unless `overwrite` is on.

    Raises:
        ValueError: there is no such model, prompt or task, a task has nothing to ask, or `out` holds other results.
    """
    if sets > 1 and demonstrations == "first":
        raise ValueError(
            f"{sets} sets of demonstrations are asked for, and the first ones are one set; ask for sampled or nearest demonstrations"
        )
    loaded = _tasks(tasks, metric)
    # Before the model is loaded, which may take minutes.
    check_askable(loaded, max(shots), demonstrations=demonstrations)
    name, folder = str(model.folder if isinstance(model, Run) else model), None if out is None else Path(out)
    settings = {
        "command": "evaluate", "MODEL": name, "prompt": prompt and str(prompt), "base": base and str(base),
        "task": [[task.name, task.version] for task in loaded], "shots": sorted(shots), "limit": limit, "seed": seed,
        "demonstrations": demonstrations, "demonstration-sets": sets, "metric": metric, "decode": repr(decode), "dtype": dtype,
    }  # fmt: skip
    if claimed := folder and Measurement(folder, settings, pages=False, overwrite=overwrite):
        claimed.check()
    with asking(
        model, prompt, base=base, dtype=dtype, device=device, trust_remote_code=trust_remote_code, out=folder
    ) as measured:
        if claimed:
            claimed.claim()
        if any(metrics.metric(task.metric).pick for task in loaded):
            measured.check_ranks()
        for task in loaded:
            if warning := unread(measured.tokenizer, task, name):
                print(warning, file=sys.stderr, flush=True)
        answering = measured if decode is None else decode.wrap(measured)
        state: PromptState = "on" if measured.origin.attached else "off" if prompt == "off" else None
        # Also of a tuned run the variant is `base`: nothing is compared here, and the model's name tells scores apart.
        question = partial(
            ask, answering, role="target", limit=limit, seed=seed, variant="base", prompt=state, demonstrations=demonstrations
        )  # fmt: skip
        outputs = _answers(question, name, loaded, shots, sets, limit)
        if decode is not None:
            technique = snake(type(decode).__name__)
            outputs = [[replace(o, decoding=f"{technique}: {o.decoding}") for o in answers] for answers in outputs]
        made = Circumstances(
            model=name, model_hash=measured.origin.hash, seed=seed, versions=library_versions(name), dtype=measured.origin.dtype,
            device=measured.origin.device,
        )  # fmt: skip
        # The first set is what is reported; the others say only how far the numbers spread.
        first, *others = (score(part, loaded, circumstances=made) for part in outputs)
        scores = with_spread(first, others)
        if folder is not None:
            # Two evaluations that end at once in one folder would write into the same unfinished files.
            with exclusive(folder, "another command writes here; waiting for it to end"):
                write_samples(folder, write_results(folder, outputs[0], scores, loaded), loaded)
    return scores


def _tasks(arguments: str | Path | Sequence[str | Path], rule: str | None) -> list[Task]:
    loaded = list(chain.from_iterable(map(sources.load_tasks, sources.arguments(arguments))))
    return loaded if rule is None else with_rule(loaded, rule)


def _answers(
    question: Callable[..., list[Output]], name: str, tasks: Sequence[Task], shots: Sequence[int], sets: int, limit: int | None
) -> list[list[Output]]:  # fmt: skip
    """Ask every task at every number of shots; return the answers by set of demonstrations, so that each gives scores of its own."""
    outputs: list[list[Output]] = [[] for _ in range(sets)]
    # Without demonstrations all sets are one.
    cells = [(task, k, number) for task, k, number in product(tasks, shots, range(sets)) if k or number == 0]
    with AskingProgress(name, [task_items(task, limit) for task, _, _ in cells]) as progress:
        for task, k, number in cells:
            again = f", demonstrations {number + 1} of {sets}" if sets > 1 and k else ""
            progress.begin(f"{task.name}, {k} shot{'' if k == 1 else 's'}{again}")
            outputs[number] += question(task, shots=k, demonstration_seed=number)
            progress.done()
    return outputs


def default_tasks(model: str, *, trust_code: bool = False, trust_remote_code: bool = False) -> list[str]:
    """Return the tasks that `evaluate` measures by default: of a run its targets, for which its prompt is attached; else the general
    tasks that suit the model.

    Raises:
        ValueError: there are none that the model could read, or the run names code and `trust_code` is off.
    """
    layout = RunFolder(Path(model))
    if layout.is_run:
        refuse_code(layout.targets, layout.config_file, trust_code=trust_code)
        return layout.targets
    if names := default_general(model, trust_remote_code=trust_remote_code):
        return list(names)
    raise ValueError(
        f"{model}: its tokenizer reads neither English nor the lab's words; name what to measure with --task"
    )

"""Evaluate a model on tasks without training it: the Python name behind `holdfast evaluate`."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from itertools import chain, product
from pathlib import Path
from tempfile import TemporaryDirectory

from accelerate.utils import broadcast_object_list

from holdfast.api.load import EngineName, LoadOptions, asking
from holdfast.api.measurement import Measurement
from holdfast.api.tune import Run
from holdfast.api.versions import library_versions
from holdfast.decoding.base import Decoding
from holdfast.evaluation.answer_files import AskedTask, Share, ask_cells, join
from holdfast.evaluation.ask import check_askable, shots_of, unread
from holdfast.evaluation.harness_samples import write_samples
from holdfast.evaluation.matrix import Asking
from holdfast.evaluation.progress import AskingProgress, task_items
from holdfast.inference.language_model import LanguageModel, NamedModel
from holdfast.models.fingerprint import fingerprint
from holdfast.models.reading import default_general
from holdfast.plugins import refuse_code
from holdfast.results import metrics
from holdfast.results.compute_scores import score
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import Circumstances, PromptState, Score, StoredOutputs, write_jsonl
from holdfast.results.verdicts import with_spread
from holdfast.results.visible import one_line
from holdfast.stages.stage import exclusive
from holdfast.tasks import sources
from holdfast.tasks.answers.choice_rules import with_rule
from holdfast.tasks.task import SHOTS, Task
from holdfast.training.processes import processes


def evaluate(
    model: str | Path | Run,
    tasks: str | Path | Sequence[str | Path],
    *,
    prompt: str | Path | None = None,
    base: str | Path | None = None,
    shots: Sequence[int] = SHOTS,
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
    engine: EngineName = "transformers",
) -> list[Score]:
    """Return the scores of a model on tasks, without training; `model`, `prompt`, `base`, `dtype` and `device` are as in `load`.

    The model may also stand behind a server: `openai:URL#NAME`.

    Demonstrations are the first of the train split, the same for all items, sampled for each item, or the nearest to it by words
    (`nearest:FOLDER`: by a sentence-embedding model); in so many `sets`, the spread between which `Score.over_sets` says.
    With `metric`, one of `choice_rules.RULES`, answers are picked by that rule in all tasks whose items have choices.
    With `decode` everything is asked of that technique around the model; with the engine `vllm`, vLLM computes it.
    With `out`, `scores.jsonl`, `outputs.jsonl` and the harness's samples are written into that folder, which may hold no other
    measurement unless `overwrite` is on. A call that was killed goes on there: answers stand on the disk in parts of 1,024 items, which the
    processes of a launch share. Memory does not grow with the items.

    Raises:
        ValueError: there is no such model, prompt or task, a task has nothing to ask, or `out` holds other results.
    """
    _check_options(sets, demonstrations, decode, engine)
    loaded = _tasks(tasks, metric)
    # Before the model is loaded, which may take minutes.
    check_askable(loaded, max(shots), demonstrations=demonstrations)
    name = str(model.folder if isinstance(model, Run) else model)
    settings = {
        "command": "evaluate", "MODEL": name, "prompt": prompt and str(prompt), "base": base and str(base),
        "task": [[task.name, task.version] for task in loaded], "shots": sorted(shots), "limit": limit, "seed": seed,
        "demonstrations": demonstrations, "demonstration-sets": sets, "metric": metric, "decode": repr(decode), "dtype": dtype,
        "engine": engine,
    }  # fmt: skip
    if claimed := out is not None and Measurement(Path(out), settings, pages=False, overwrite=overwrite):
        claimed.check()
    state = processes()
    where = None if out is None else Path(out)
    loading = LoadOptions(prompt, base, dtype, device, trust_remote_code)
    with asking(model, loading, out=where, engine=engine) as measured, _folder(where) as folder:
        if claimed and state.is_main_process:
            claimed.claim()
        _check(measured, loaded, name)
        answering = measured if decode is None else decode.wrap(measured)
        attached: PromptState = "on" if measured.origin.attached else "off" if prompt == "off" else None
        if attached == "on" and prompt is None and state.is_main_process:
            _tell_attached(Path(name), sources.arguments(tasks))
        options = Asking(role="target", limit=limit, seed=seed, prompt=attached, demonstrations=demonstrations)
        cells = _cells(loaded, options, shots, sets)
        made = Circumstances(
            model=name, model_hash=measured.origin.hash, seed=seed, versions=library_versions(name),
            dtype=measured.origin.dtype, device=measured.origin.device,
        )  # fmt: skip
        parts = folder / f"parts-{_digest(cells, made, prompt, decode)}"
        files = _ask_share(cells, parts, name, answering, decode)
        by_set = [StoredOutputs(_of_set(files, cells, number)) for number in range(sets)]
        # The first set is what is reported; the others say only how far the numbers spread.
        scores, *others = (score(outputs, loaded, circumstances=made) for outputs in by_set)
        scores = with_spread(scores, others)
        # Every process has read the answers before they go.
        state.wait_for_everyone()
        if state.is_main_process:
            if out is not None:
                _write(folder, by_set[0], scores, loaded)
            shutil.rmtree(parts, ignore_errors=True)
    return scores


def _check_options(sets: int, demonstrations: str, decode: Decoding | None, engine: str) -> None:
    """Refuse options that make no sense together, before anything is read."""
    if sets > 1 and demonstrations == "first":
        raise ValueError(
            f"{sets} sets of demonstrations are asked for, and the first ones are one set; ask for sampled or nearest demonstrations"
        )
    if engine == "vllm" and decode is not None:
        raise ValueError("--engine vllm: gives no logits, which --decode works on; leave one of the two out")


def _tasks(arguments: str | Path | Sequence[str | Path], rule: str | None) -> list[Task]:
    loaded = list(chain.from_iterable(map(sources.load_tasks, sources.arguments(arguments))))
    return loaded if rule is None else with_rule(loaded, rule)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """Yield the folder to work in, alone: `out`, or one that goes when the block ends; all processes of a launch have the same."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        # Two evaluations that work at once in one folder would write into the same unfinished files.
        with exclusive(out, "another command writes here; waiting for it to end"):
            yield out
        return
    with TemporaryDirectory(prefix="holdfast-evaluate-") as name:
        shared = [name]
        broadcast_object_list(shared)
        yield Path(shared[0])
        processes().wait_for_everyone()


def _check(model: NamedModel, tasks: Sequence[Task], name: str) -> None:
    """Refuse a model that cannot rank where choices are ranked, and warn of tasks that it cannot read."""
    if any(metrics.metric(task.metric).needs_likelihoods for task in tasks):
        model.check_ranks()
    for task in tasks:
        if processes().is_main_process and (warning := unread(model.tokenizer, task, name)):
            print(f"holdfast: {warning}", file=sys.stderr, flush=True)


def _cells(tasks: Sequence[Task], options: Asking, shots: Sequence[int], sets: int) -> list[AskedTask]:
    """Return what is asked: each task at each number of shots, behind each set of demonstrations."""
    cells = []
    pairs = chain.from_iterable(product([task], shots_of(task, shots)) for task in tasks)
    for (task, k), number in product(pairs, range(sets)):
        if number and not k:  # without demonstrations all sets are one
            continue
        again = f", demonstrations {number + 1} of {sets}" if sets > 1 and k else ""
        asking = replace(options, shots=k, demonstration_seed=number)
        cells.append(AskedTask(task, asking, note=again))
    return cells


def _ask_share(
    cells: Sequence[AskedTask], parts: Path, name: str, model: LanguageModel, decode: Decoding | None
) -> list[list[Path]]:
    """Ask this process's share, wait for the others, and return the files of all answers, by cell."""
    state = processes()
    items = [task_items(cell.task, cell.asking.limit) for cell in cells]
    with AskingProgress(name, items, silent=not state.is_main_process) as progress:
        share = Share(state.process_index, state.num_processes)
        files = ask_cells(cells, parts, lambda: model, progress, decoding=decode, share=share)
    state.wait_for_everyone()
    return files


def _of_set(files: Sequence[Sequence[Path]], cells: Sequence[AskedTask], number: int) -> list[Path]:
    """Return the files of the cells that belong to this set of demonstrations."""
    of_set = [paths for paths, cell in zip(files, cells, strict=True) if cell.asking.demonstration_seed == number]
    return list(chain.from_iterable(of_set))


def _digest(cells: Sequence[AskedTask], made: Circumstances, prompt: str | Path | None, decode: Decoding | None) -> str:
    """Return eight hex digits of everything that the answers depend on: a killed evaluation goes on only where that is the same."""
    attached = str(prompt) if prompt is None or not Path(prompt).is_dir() else fingerprint(str(prompt))
    questions = [[cell.task.version, cell.task.source, asdict(cell.asking)] for cell in cells]
    return sha256(json.dumps([questions, asdict(made), attached, repr(decode)], default=str).encode()).hexdigest()[:8]


def _write(folder: Path, outputs: StoredOutputs, scores: Sequence[Score], tasks: Sequence[Task]) -> None:
    layout = RunFolder(folder)
    # The scores last: a folder that has them counts as finished, and then its answers must be there.
    join(outputs.paths, layout.outputs_file)
    write_samples(folder, outputs, tasks)
    write_jsonl(layout.scores_file, scores)


def _tell_attached(run: Path, arguments: Sequence[str]) -> None:
    """Say which tasks stand behind the prompt of a run and are none of its targets: the run itself is measured there without it."""
    targets = {Path(target).resolve() for target in RunFolder(run).targets}
    others = [one_line(argument) for argument in arguments if Path(argument).resolve() not in targets]
    if others:
        print(
            f"holdfast: {', '.join(others)}: no target of {run}, and asked behind its prompt all the same; with prompt off (--prompt off) "
            "the numbers are those of the run's own table",
            file=sys.stderr,
            flush=True,
        )


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

"""Use a model without training it: load it with its prompt attached or removed, measure it, give it prompts."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from holdfast.api.tune import Run
from holdfast.api.versions import library_versions
from holdfast.atomic_files import write_text
from holdfast.decoding.base import Decoding
from holdfast.evaluation.ask import ask, check_askable, unread
from holdfast.evaluation.harness_samples import write_samples
from holdfast.evaluation.progress import AskingProgress, task_items
from holdfast.inference.model import Model
from holdfast.lab import world
from holdfast.models import resolve
from holdfast.plugins import DECODINGS, find, refuse_code, snake, unknown
from holdfast.prefix.attached import detached
from holdfast.prompts.load import load_prompt
from holdfast.results.run_folder import RunFolder, write_results
from holdfast.results.score import score
from holdfast.results.scores import Circumstances, Output, Score
from holdfast.results.verdicts import with_spread
from holdfast.stages import analyse
from holdfast.tasks import sources


def load(
    model: str | Path | Run,
    prompt: str | Path | None = None,
    *,
    trust_remote_code: bool = False,
    date: str | None = None,
) -> Model:
    """A model that generates and scores text; the plain transformers model is inside (`.pretrained.model`).

    `model` is a run, a run's folder, a model folder, a hub id or `lab`. For a run, `prompt` is "on" (attached, the default where the
    run trained one), "off" (removed) or, of a run with several targets, the target whose prompt it is; otherwise it is a soft prompt's
    folder, or None. `date` (YYYY-MM-DD) is what a chat template that writes today's date writes: by default that of the run, in whose
    words it was trained, else today's.
    """
    folder = model.folder if isinstance(model, Run) else Path(model)
    place, run, asked = str(model), None, None if prompt is None else str(prompt)
    if RunFolder(folder).is_run:
        config = RunFolder(folder).config
        place, run = config["model"], folder
        date = date or config.get("date")
        prompt_folder = _prompt_of(folder, asked)
    elif asked in ("on", "off"):
        raise ValueError(f"{model}: prompt={prompt!r} needs the folder of a run; give the prompt's own folder instead")
    else:
        prompt_folder = None if asked is None else Path(asked)
    pretrained = resolve.load(place, run, trust_remote_code=trust_remote_code, date=date)
    return Model(pretrained, detached(load_prompt(prompt_folder, pretrained)()) if prompt_folder else None)


def decoding(name: str, settings: Mapping[str, Any] = {}) -> Decoding:
    """Return the decoding called `name` (or `path/to/file.py:Name`) with its fields set.

    Raises:
        ValueError: there is no such decoding or field, or a value does not fit.
    """
    technique = find(name, DECODINGS)
    known = [field.name for field in fields(technique)]
    for key in settings:
        if key not in known:
            raise unknown(f"field of decoding {name!r}:", key, known)
    try:
        return technique(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        setting = f"decode.{'.'.join(map(str, first['loc']))}={first['input']!r}"
        raise ValueError(f"{setting}: {first['msg'].removeprefix('Value error, ')}") from None


def _prompt_of(run: Path, asked: str | None) -> Path | None:
    """The folder of the prompt that is asked of a run: the only one, that of a target, or any other."""
    own = RunFolder(run).prompts
    if asked in own:
        return own[asked]
    if asked == "off" or (asked is None and not own):
        return None
    if asked not in (None, "on"):
        if own and not Path(asked).exists():
            raise ValueError(f"{run}: no prompt {asked!r}; there are {', '.join(filter(None, own)) or 'on and off'}")
        return Path(asked)
    if not own:
        raise ValueError(f"{run}: this run trained no prompt, so there is none to attach")
    if len(own) > 1:
        raise ValueError(
            f"{run}: this run has a prompt for each of its targets; ask for one of {', '.join(own)}, or off"
        )
    return next(iter(own.values()))


def evaluate(
    model: str | Path | Run,
    tasks: str | Path | Sequence[str | Path],
    *,
    prompt: str | Path | None = None,
    shots: Sequence[int] = (0,),
    limit: int | None = None,
    seed: int = 0,
    demonstrations: Literal["first", "sampled"] = "first",
    sets: int = 1,
    out: str | Path | None = None,
    decode: Decoding | None = None,
    trust_remote_code: bool = False,
) -> list[Score]:
    """The scores of a model on tasks, without training; `model` and `prompt` are as in `load`.

    Demonstrations are the first of the train split, the same for all items, or sampled for each item; in so many `sets`, the
    spread between which `Score.over_sets` says.
    With `decode` everything is asked of that technique around the model.
    With `out`, `scores.jsonl`, `outputs.jsonl` and the harness's samples are written into that folder.

    Raises:
        ValueError: there is no such model, prompt or task, or a task has nothing to ask.
    """
    if sets > 1 and demonstrations == "first":
        raise ValueError(
            f"{sets} sets of demonstrations are asked for, and the first ones are one set; ask for sampled demonstrations"
        )
    loaded = [t for name in sources.arguments(tasks) for t in sources.load_tasks(name)]
    check_askable(loaded, max(shots))
    measured = load(model, prompt=prompt, trust_remote_code=trust_remote_code)
    answering = measured if decode is None else decode.wrap(measured)
    name = str(model.folder if isinstance(model, Run) else model)
    state = "on" if measured.prompt is not None else "off" if prompt == "off" else None
    how: dict[str, Any] = {"role": "target", "limit": limit, "seed": seed, "demonstrations": demonstrations}
    how |= {"variant": "base", "prompt": state}
    outputs: list[list[Output]] = [[] for _ in range(sets)]
    for task in loaded:
        if warning := unread(measured.pretrained.tokenizer, task, name):
            print(warning, file=sys.stderr, flush=True)
    cells = [(task, k) for task in loaded for k in shots]
    asked = [(task, k, number) for task, k in cells for number in range(sets if k else 1)]
    with AskingProgress(name, [task_items(task, limit) for task, _, _ in asked]) as progress:
        for task, k, number in asked:
            again = f", demonstrations {number + 1} of {sets}" if sets > 1 and k else ""
            progress.begin(f"{task.name}, {k} shot{'' if k == 1 else 's'}{again}")
            answers = ask(answering, task, shots=k, demonstration_seed=number, **how)
            if decode is not None:
                answers = [replace(o, decoding=f"{snake(type(decode).__name__)}: {o.decoding}") for o in answers]
            outputs[number] += answers
            progress.done()
    made = Circumstances(model=name, model_hash=measured.pretrained.hash, seed=seed, versions=library_versions())
    scores, *others = (score(part, loaded, circumstances=made) for part in outputs)
    scores = with_spread(scores, others)
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        write_samples(folder, write_results(folder, outputs[0], scores, loaded), loaded)
    return scores


def explain(
    run: str,
    analyses: Sequence[str],
    tasks: Sequence[str] = (),
    *,
    shots: int = 0,
    limit: int | None = None,
    out: str | Path | None = None,
    trust_remote_code: bool = False,
    trust_code: bool = False,
) -> list[Mapping[str, Any]]:
    """Why a finished run gained and lost what it did: findings about the weights that it keeps, as `analysis.jsonl` has them.

    `tasks` are general tasks to ask; by default those of the run. With `out`, they are written into that folder.

    Raises:
        ValueError: this is not a run's folder, or an analysis is unknown or needs what only training has.
    """
    folder = Path(run)
    layout = RunFolder(folder)
    if not layout.is_run:
        raise ValueError(
            f"{run}: not the folder of a run; --analyse compares a run's weights with those it started from"
        )
    config, targets = layout.config, layout.targets
    refuse_code([targets, [] if tasks else config["general"]], layout.config_file, trust_code=trust_code)
    general = [name for name in tasks or _general(config) if name not in targets]
    tuned = load(run, prompt="off", trust_remote_code=trust_remote_code).pretrained
    base = resolve.load(config["model"], trust_remote_code=trust_remote_code, date=config.get("date"))
    found = analyse.of_run(folder, tuned, base, targets[0], general, analyses, limit=limit, shots=shots)
    if out is not None:
        write_text(RunFolder(Path(out)).analysis_file, "".join(json.dumps(record) + "\n" for record in found))
    return found


def _general(config: Mapping[str, Any]) -> list[str]:
    """The general tasks of a run, without its diagnostics."""
    return [name for name in config["general"] if not sources.is_diagnostic(name)]


def default_tasks(model: str, *, trust_code: bool = False) -> list[str]:
    """What `evaluate` measures when it is given no task: of a run its targets, for which its prompt is attached."""
    layout = RunFolder(Path(model))
    if layout.is_run:
        refuse_code(layout.targets, layout.config_file, trust_code=trust_code)
        return layout.targets
    if model != "lab":
        raise ValueError("name what to measure with --task; only a run and the lab model have tasks of their own")
    return [f"lab:{name}" for name in world.general()]


def prompts_of(text: str, name: str) -> list[str]:
    """The prompts in plain lines, or in JSON lines with `prompt` or `input`; `name` is that of the file, for messages.

    Raises:
        ValueError: lines that are neither; all of them are named.
    """
    found, wrong = [], []
    # Not `splitlines`: a text may hold U+2028 and other separators, which JSON leaves as they are.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            found.append(line)
            continue
        try:
            record = json.loads(line)
            asked = record["prompt"] if "prompt" in record else record["input"]
            if isinstance(asked, str):
                found.append(asked)
            else:
                wrong.append(f"{name}:{number}: its prompt is no text; write it in quotes")
        except json.JSONDecodeError as error:
            wrong.append(f"{name}:{number}: not JSON ({error.msg})")
        except KeyError:
            wrong.append(f"{name}:{number}: has neither `prompt` nor `input`")
    if wrong:
        raise ValueError("; ".join(wrong))
    return found

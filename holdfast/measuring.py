"""Use a model without training it: load it with its prompt attached or removed, measure it, give it prompts."""

import json
from collections.abc import Sequence
from pathlib import Path

from holdfast.evaluation import matrix
from holdfast.evaluation.model import Model
from holdfast.lab import world
from holdfast.runs import Run, check_askable, library_versions
from holdfast.scores import Output, Score, write_jsonl
from holdfast.stages import pretrained as source
from holdfast.stages import sources


def load(model: str | Path | Run, prompt: str | Path | None = None, *, trust_remote_code: bool = False) -> Model:
    """A model that generates and scores text; the plain transformers model is inside (`.pretrained.model`).

    `model` is a run, a run's folder, a model folder, a hub id or `lab`. For a run, `prompt` is "on" (attached, the default where the
    run trained one) or "off" (removed); otherwise it is a soft prompt's folder, or None.
    """
    folder = model.folder if isinstance(model, Run) else Path(model)
    place, prompt_folder = str(model), None if prompt in (None, "on", "off") else Path(str(prompt))
    if (folder / "config.yaml").exists():
        run = Run(folder)
        place = str(folder / "model") if (folder / "model").is_dir() else run.config["model"]
        if prompt_folder is None and prompt != "off" and (folder / "prompt").is_dir():
            prompt_folder = folder / "prompt"
        elif prompt == "on" and prompt_folder is None:
            raise ValueError(f"{folder}: this run trained no prompt, so there is none to attach")
    elif prompt in ("on", "off"):
        raise ValueError(f"{model}: prompt={prompt!r} needs the folder of a run; give the prompt's own folder instead")
    pretrained = source.load(place, trust_remote_code=trust_remote_code)
    vectors = source.load_prompt(prompt_folder, pretrained).vectors.detach() if prompt_folder else None
    return Model(pretrained, vectors)


def evaluate(
    model: str,
    tasks: Sequence[str],
    *,
    prompt: str | Path | None = None,
    shots: Sequence[int] = (0,),
    limit: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    trust_remote_code: bool = False,
) -> list[Score]:
    """The scores of a model on tasks, without training; with `prompt`, a soft prompt's folder, attached."""
    loaded = [t for name in tasks for t in sources.load_tasks(name)]
    check_askable(loaded, max(shots))
    measured = load(model, prompt=prompt, trust_remote_code=trust_remote_code)
    outputs: list[Output] = []
    for task in loaded:
        for k in shots:
            outputs += matrix.evaluate(
                measured,
                task,
                role="target",
                shots=k,
                limit=limit,
                seed=seed,
                variant="base",
                prompt="on" if prompt else None,
            )
    circumstances = {
        "model": model,
        "model_hash": measured.pretrained.hash,
        "seed": seed,
        "versions": library_versions(),
    }
    scores = matrix.score(outputs, loaded, **circumstances)
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        write_jsonl(folder / "outputs.jsonl", outputs)
        write_jsonl(folder / "scores.jsonl", scores)
    return scores


def default_tasks(model: str) -> list[str]:
    """What `evaluate` measures when it is given no task."""
    if model != "lab":
        raise ValueError("name what to measure with --task; only the lab model has tasks of its own")
    return [f"lab:{name}" for name in world.general()]


def prompts_of(lines: Sequence[str], name: str) -> list[str]:
    """The prompts in plain lines, or in JSON lines with `prompt` or `input`."""
    found, wrong = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            found.append(line)
            continue
        try:
            record = json.loads(line)
            found.append(record["prompt"] if "prompt" in record else record["input"])
        except json.JSONDecodeError as error:
            wrong.append(f"{name}:{number}: not JSON ({error.msg})")
        except KeyError:
            wrong.append(f"{name}:{number}: has neither `prompt` nor `input`")
    if wrong:
        raise ValueError("; ".join(wrong))
    return found

"""Load a model for use from Python, with a trained prompt attached or removed."""

from pathlib import Path

from holdfast.api.tune import Run
from holdfast.inference.model import Model
from holdfast.models import resolve
from holdfast.prefix.attached import detached
from holdfast.prompts.load import load_prompt
from holdfast.results.run_folder import RunFolder


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

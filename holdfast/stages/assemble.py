"""A run's standard folder, put together from the folders of its stages."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from holdfast.atomic_files import write_text
from holdfast.results.run_folder import PIECES, RunFolder
from holdfast.stages.stage import LOCK, MARK
from holdfast.tasks.yaml_files import read_yaml

OF_THE_BASE = ("evaluate-base", "label-mass-base")  # how the names of their folders begin


def collect(
    stages: Sequence[Path], out: Path, prompts: Mapping[str, Path], curated: Mapping[str, Path] = MappingProxyType({})
) -> None:
    """Put what the stages left into the run's folder: weights (by hard link where the disk can), curated data, and one `log.jsonl`.

    A later stage's part replaces an earlier one's of the same name. Of several different `prompts` (the stage's folder, by target) each
    has a folder of its own, `prompt/TARGET/`; and so has the data of several `curated` targets.
    """
    for piece in PIECES:
        left = [folder / piece for folder in stages if (folder / piece).is_dir()]
        parts = {"": left[-1]} if left else {}
        # Several targets behind one prompt share a stage: then there is one folder, and it needs no names.
        if piece == "prompt" and len(set(prompts.values())) > 1:
            parts = {name: folder / piece for name, folder in prompts.items()}
        _copy(parts, out / piece)
    data = {name: RunFolder(folder).data for name, folder in curated.items()}
    _copy(data if len(data) != 1 else {"": next(iter(data.values()))}, RunFolder(out).data)
    logs = [log.read_text(encoding="utf-8") for folder in stages if (log := RunFolder(folder).log_file).exists()]
    write_text(RunFolder(out).log_file, "".join(logs))


def _copy(parts: Mapping[str, Path], target: Path) -> None:
    """Put folders into one, by their names; the old one goes once the new one is whole."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    # Beside its target and then renamed: what is half copied never has the target's name.
    for name, folder in parts.items():
        shutil.copytree(folder, part / name, copy_function=_link)
    shutil.rmtree(target, ignore_errors=True)
    if parts:
        os.replace(part, target)


def _link(source: str, target: str) -> None:
    # Weights are large and never written in place, so a run and its stage may share them on the disk.
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def check_folder(out: Path) -> None:
    """Refuse, before anything is written into it, what cannot become a run's folder.

    Raises:
        ValueError: it is a file, or holds something and no run.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; --out needs a folder")
    if RunFolder(out).is_run:
        recorded(out)
    # Lock and lease are ours: they lie there before there is a run.
    elif out.exists() and any(not path.name.startswith(LOCK) for path in out.iterdir()):
        raise ValueError(f"{out}: is not empty and holds no run; give another --out")


def recorded(out: Path) -> Mapping[str, Any]:
    """Return the configuration of the run in a folder; nothing where there is none.

    Raises:
        ValueError: its config.yaml is not one that `tune` wrote: the folder is somebody else's, and not ours to empty.
    """
    path = RunFolder(out).config_file
    try:
        config = read_yaml(path, "give another --out")
    except FileNotFoundError:
        return {}
    except ValueError:  # no YAML, or no text at all
        config = None
    foreign = ValueError(f"{path}: is not the configuration of a run; give another --out")
    if not isinstance(config, dict) or config.get("command") != "tune":
        raise foreign
    if not isinstance(config.get("versions"), dict) or "holdfast" not in config["versions"]:
        raise foreign
    return config


def claim(out: Path, config: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make a folder this run's own by writing `config.yaml`. One in which nothing was finished, because the first try failed
    early, is anybody's: what was wrong is mended and the command given again.

    Raises:
        ValueError: the folder holds a run of another configuration, and `overwrite` is off.
    """
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    if before := recorded(out):
        # Versions, analyses and the device change no training and no number.
        compared = [key for key in config if key not in ("versions", "analyses", "device")]
        before = {"dtype": "fp32", **before}  # as everything was held by the versions that wrote no dtype
        now = yaml.safe_load(text)
        different = changed({key: before.get(key) for key in compared}, {key: now.get(key) for key in compared})
        started = _started(out)
        # Once work is done the folder is a result; before, only the configuration of a failed try lies there.
        if different and started and not overwrite:
            raise ValueError(
                f"{out}: holds a run with another configuration (different: {', '.join(different)}); give another --out, or "
                "--overwrite to replace it"
            )
        if different and started:
            _empty(out)
        elif different:
            for stage in _begun(out):
                shutil.rmtree(stage, ignore_errors=True)
    write_text(RunFolder(out).config_file, text)


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ; a field of a stage as `--set` names it, such as `model.steps`."""
    different: list[str] = []
    # Keys of either side: a setting that is gone is a difference too.
    for key in dict.fromkeys([*now, *before]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            different += [name if key == "stages" else f"{key}.{name}" for name in changed(old, new)]
        elif old != new:
            different.append(key)
    return different


def _started(out: Path) -> bool:
    """Return whether a run's folder holds work that would be lost: a finished stage, a checkpoint, or numbers."""
    done = any((stage / MARK).exists() or any(stage.glob("checkpoint-*")) for stage in _begun(out))
    return done or RunFolder(out).scores_file.exists() or RunFolder(out).sweep_file.exists()


def _begun(out: Path) -> list[Path]:
    """Return the folders of a run's stages, but for measurements of the base: they come before anything that could fail, and stay valid."""
    return [stage for stage in RunFolder(out).stages.glob("*") if not stage.name.startswith(OF_THE_BASE)]


def _empty(out: Path) -> None:
    """Remove what a run has written, and nothing that somebody else has put beside it."""
    run = RunFolder(out)
    # By name, and not the whole folder: notes of the user's may lie beside the run.
    parts = [
        run.model,
        run.prompt,
        run.adapter,
        run.data,
        run.sweep_file,
        run.stages,
        run.config_file,
        run.scores_file,
        run.outputs_file,
    ]
    parts += [run.analysis_file, run.log_file, run.page, run.card, out / MARK]
    for path in (*parts, *out.glob("samples/*/samples_*.jsonl"), *out.glob("*.part")):
        # Behind a link stands a folder that is not the run's: the link goes, its folder stays.
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

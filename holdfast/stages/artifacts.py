"""A run's standard folder, put together from the folders of its stages."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from holdfast.stages.base import write_text

KINDS = ("model", "prompt", "adapter")


def collect(stages: Sequence[Path], out: Path, prompts: Mapping[str, Path]) -> None:
    """Put `model/`, `prompt/` and `adapter/` of the stages into the run's folder (by hard link where the disk can), and one `log.jsonl`.

    A later stage's part replaces an earlier one's of the same kind. Of several different `prompts` (the stage's folder, by target) each
    has a folder of its own, `prompt/TARGET/`.
    """
    for kind in KINDS:
        found = [folder / kind for folder in stages if (folder / kind).is_dir()]
        several = kind == "prompt" and len(set(prompts.values())) > 1
        parts = (
            {name: folder / kind for name, folder in prompts.items()} if several else {"": found[-1]} if found else {}
        )
        shutil.rmtree(out / kind, ignore_errors=True)
        part = out / f"{kind}.part"
        shutil.rmtree(part, ignore_errors=True)
        for name, folder in parts.items():
            shutil.copytree(folder, part / name, copy_function=_link)
        if parts:
            os.replace(part, out / kind)
    logs = [(folder / "log.jsonl").read_text() for folder in stages if (folder / "log.jsonl").exists()]
    write_text(out / "log.jsonl", "".join(logs))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def claim(out: Path, config: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make a folder this run's own by writing `config.yaml`.

    Raises:
        ValueError: the folder holds a run of another configuration, or something that is no run, and `overwrite` is off.
    """
    path = out / "config.yaml"
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; --out needs a folder")
    if path.exists():
        before = yaml.safe_load(path.read_text())
        if not isinstance(before, dict) or "stages" not in before:
            raise ValueError(
                f"{path}: is not the configuration of a run; give another --out"
            )  # nothing of ours to replace
        compared = config.keys() - {"versions", "analyses"}  # neither changes what is trained or measured
        changed = [key for key in config if key in compared and before.get(key) != yaml.safe_load(text).get(key)]
        if changed and not overwrite:
            raise ValueError(
                f"{out}: holds a run with another configuration (different: {', '.join(changed)}); give another --out, or "
                "--overwrite to replace it"
            )
        if changed:
            shutil.rmtree(out)
    elif out.is_dir() and any(out.iterdir()) and not overwrite:
        raise ValueError(f"{out}: is not empty and holds no run; give another --out, or --overwrite to write into it")
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, text)

"""The evidence behind a folder's numbers: fingerprints of both models, of every task, and of the numbers themselves."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from holdfast.atomic_files import write_text
from holdfast.results.run_folder import RunFolder


@dataclass(frozen=True)
class Fingerprint:
    """The name of something that was measured, and the digits that change with any byte of it; `weights` with its weights alone.

    Those of the weights are empty where they are not known: of tasks, adapters, and models that are not on this machine.
    """

    argument: str
    version: str
    weights: str = ""


@dataclass(frozen=True)
class Evidence:
    """Everything that the numbers in a folder depend on. `files` are the hashes of `scores.jsonl` and `outputs.jsonl`.

    `tuned` has one entry for each part: the model, and the prompt or adapter that goes with it. Arguments that are paths are relative
    to the folder where they lie inside it.
    """

    base: Fingerprint
    tuned: tuple[Fingerprint, ...]
    tasks: tuple[Fingerprint, ...] = ()
    shots: tuple[int, ...] = ()
    limit: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write `evidence.json` beside finished scores."""
    content = asdict(evidence) | {"files": _files(folder)}
    write_text(RunFolder(folder).evidence_file, json.dumps(content, indent=1, ensure_ascii=False))


def read_evidence(folder: Path) -> Evidence | None:
    """Return the evidence of a folder; None where it has none, as those of older versions.

    Raises:
        ValueError: the file is damaged.
    """
    path = RunFolder(folder).evidence_file
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Evidence(
            Fingerprint(**content["base"]),
            tuple(Fingerprint(**part) for part in content["tuned"]),
            tuple(Fingerprint(**part) for part in content["tasks"]),
            tuple(content["shots"]),
            content["limit"],
            content["versions"],
            content["files"],
        )
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: not the evidence of a measurement; measure again") from None


def same_model(evidence: Evidence | None, targets: bool) -> str:
    """Return the sentence that says that no two models were compared; empty where they differ, or where there is no evidence.

    With `targets` a prompt alone is a difference: it counts attached on them, and removed on all else.
    """
    if evidence is None or not evidence.tuned:
        return ""
    base, (tuned, *others) = evidence.base, evidence.tuned
    if base.version == tuned.version and not others:
        return (
            f"Nothing was compared: {tuned.argument} is the same model as {base.argument} (fingerprint {base.version})."
        )
    if base.version == tuned.version and not targets:
        return (
            f"Nothing was compared: without its prompt, {others[0].argument} is {base.argument}, and a prompt counts on targets alone; "
            "name one with --target."
        )
    if base.weights and base.weights == tuned.weights and not others:
        return (
            f"{tuned.argument} has the weights of {base.argument}, byte for byte; only other files differ, such as tokenizer or "
            "configuration."
        )
    return ""


def changed_files(folder: Path, evidence: Evidence) -> list[str]:
    """Return the files of numbers that are not as they were written."""
    now = _files(folder)
    return [name for name, digest in evidence.files.items() if now.get(name) != digest]


def _files(folder: Path) -> dict[str, str]:
    layout = RunFolder(folder)
    paths = (layout.scores_file, layout.outputs_file)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in paths if path.exists()}

"""Edit models without training them: the Python name behind `holdfast edit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.models import resolve
from holdfast.stages.edit import COPIED, make, write_edited_model

DOWNLOADED = ["model*.safetensors", *(f"*{suffix}" for suffix in sorted(COPIED - {".py"}))]


def edit_model(
    base: str | Path, tuned: str | Path | Sequence[str | Path], name: str, out: str | Path, **fields: Any
) -> Path:
    """Edit one or several models that were tuned from `base`; return `out`, a model folder like that of the first.

    `base` and `tuned` are folders, hub ids or `lab`, and a tuned model may be a run's folder. `name` is an edit (see
    `holdfast edits`) or `path/to/file.py:MyEdit`, and `fields` are its fields.

    Raises:
        ValueError: an unknown edit or field, models that do not belong together, several of them for an edit that takes
            one, or `out` in use; nothing is written.
    """
    edit = make(name, fields)
    models = [tuned] if isinstance(tuned, str | Path) else list(tuned)
    return write_edited_model(model_folder(base), [model_folder(model) for model in models], edit, Path(out))


def model_folder(argument: str | Path) -> Path:
    """Return the folder of weights for a MODEL argument: a model's folder, a run's, `lab`, or a hub id (downloaded).

    Raises:
        ValueError: there is no such folder or hub id, or a run that trained no whole model.
    """
    folder = Path(resolve.resolve(str(argument)))
    if not folder.exists():
        return _download(str(argument))
    if (folder / "model").is_dir() and not (folder / "config.json").exists():
        return folder / "model"
    if (folder / "config.yaml").exists() and not (folder / "config.json").exists():
        raise ValueError(
            f"{folder}: this run trained no whole model (no model/ inside), so there are no weights to edit"
        )
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder}: no config.json; a model is a folder as `save_pretrained` writes it")
    return folder


def _download(hub_id: str) -> Path:
    if hub_id.startswith((".", "/", "~")) or hub_id.count("/") > 1:
        raise ValueError(f"{hub_id}: there is no such model folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=DOWNLOADED, ignore_patterns=["*/*"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{hub_id}: is no folder, and could not be had from the hub either ({reason})") from None

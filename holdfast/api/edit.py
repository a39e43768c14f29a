"""Edit models without training them: the Python name behind `holdfast edit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.plugins import EDITS, configure
from holdfast.stages.edited_weights import weights_folder, write_edited_model


def edit_model(
    base: str | Path, tuned: str | Path | Sequence[str | Path], name: str, out: str | Path, **fields: Any
) -> Path:
    """Edit one or several models that were tuned from `base`; return `out`, a model folder like that of the first.

    `base` and `tuned` are folders, hub ids, GGUF files or `lab`, and a tuned model may be a run's folder, or that of a LoRA of `base`.
    `name` is an edit (see `holdfast edits`) or `path/to/file.py:MyEdit`, and `fields` are its fields.

    Raises:
        ValueError: an unknown edit or field, models that do not belong together, several of them for an edit that takes
            one, or `out` in use; nothing is written.
    """
    # First, because a mistyped field costs nothing, and a hub id may mean a download.
    edit = configure(EDITS, name, fields)
    models = [tuned] if isinstance(tuned, str | Path) else list(tuned)
    base = weights_folder(base)
    return write_edited_model(base, [weights_folder(model, base) for model in models], edit, Path(out))

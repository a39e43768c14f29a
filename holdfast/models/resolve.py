"""The meaning of a MODEL argument: a folder, a hub id, a GGUF file, or `lab`."""

from pathlib import Path

import torch

from holdfast import lab
from holdfast.models import loading
from holdfast.models.gguf_folder import converted
from holdfast.models.loading import Pretrained


def resolve(argument: str) -> str:
    """Return the folder or hub id behind a MODEL argument; a GGUF file is converted into a folder the first time.

    Raises:
        ValueError: the GGUF file is missing, damaged, or cannot be converted.
    """
    if argument == "lab":
        return str(lab.folder())
    return str(converted(Path(argument))) if argument.endswith(".gguf") else argument


def load(
    argument: str, stage: Path | None = None, *, trust_remote_code: bool = False, date: str | None = None
) -> Pretrained:
    """Load the resolved argument, or what a stage or a run made of it, on the best device of this machine.

    That is its `model/`, else its `adapter/` merged into the model, else, where only a prompt was trained, the model as it was.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole = stage / "model" if stage is not None and (stage / "model").is_dir() else None
    source = whole or resolve(argument)
    pretrained = loading.load(source, device=device, trust_remote_code=trust_remote_code, date=date)
    if stage is not None and whole is None and (stage / "adapter").is_dir():
        loading.merge(pretrained, stage / "adapter")
    # The source is what the user named, and not the run's folder or the cache: reports and adapters name it.
    pretrained.source = argument
    return pretrained

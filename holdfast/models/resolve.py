"""What a MODEL argument means: a folder, a hub id, or `lab`; and how its content enters a stage's hash."""

import hashlib
from pathlib import Path

import torch

from holdfast import lab
from holdfast.models import loading
from holdfast.models.loading import Pretrained

PIECE, PIECES = 1 << 20, 64  # Of each file that enters a fingerprint: whole up to 64 MiB, and spread over it beyond.


def resolve(argument: str) -> str:
    """The folder or hub id behind a MODEL argument."""
    return str(lab.folder()) if argument == "lab" else argument


def fingerprint(source: str) -> str:
    """12 hex digits that change with a model folder's configuration or weights; a hub id is its own.

    A file enters with its size and its bytes; a larger one than 64 MiB with 64 pieces of 1 MiB from its beginning to its end, so that
    weights of any size are told apart in a moment, wherever in the file training moved them.
    """
    folder = Path(source)
    if not folder.is_dir():
        return source
    digest = hashlib.sha256()
    for path in sorted((*folder.glob("*.json"), *folder.glob("*.safetensors"))):
        size = path.stat().st_size
        digest.update(f"{path.name}{size}".encode())
        with path.open("rb") as file:
            for piece in range(PIECES):
                file.seek(piece * PIECE if size <= PIECE * PIECES else piece * (size - PIECE) // (PIECES - 1))
                digest.update(file.read(PIECE))
    return digest.hexdigest()[:12]


def load(argument: str, stage: Path | None = None, *, trust_remote_code: bool = False) -> Pretrained:
    """`models.load` on the resolved argument, or on what a stage or a run made of it, on the best device of this machine.

    That is its `model/`, else its `adapter/` merged into the model, else, where only a prompt was trained, the model as it was.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole = stage / "model" if stage is not None and (stage / "model").is_dir() else None
    place = whole or resolve(argument)
    pretrained = loading.load(place, device=device, trust_remote_code=trust_remote_code)
    if stage is not None and whole is None and (stage / "adapter").is_dir():
        loading.merge(pretrained, stage / "adapter")
    pretrained.source = resolve(argument) if argument != "lab" else argument
    return pretrained

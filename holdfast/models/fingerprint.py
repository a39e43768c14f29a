"""Tell models apart by the content of their folders. A large file is read once: its digest is remembered by what the disk says of it."""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from holdfast.atomic_files import write_text
from holdfast.models.cache import cache_folder

# All that transformers reads of a model's folder: weights, configuration, tokenizer, chat template, and code of its own.
ENDINGS = (
    ".json", ".safetensors", ".gguf", ".jinja", ".model", ".txt", ".spm", ".tiktoken", ".codes", ".vocab", ".py",
)  # fmt: skip
TEMPLATES = "additional_chat_templates"
LARGE = 1 << 26  # bytes from which on a file is remembered: a smaller one is read as fast as it is looked up
SETTLED = 2.0  # seconds; a younger file could be written again within one tick of its disk's clock, and look the same
MOST = 1000  # files remembered on the disk

Stat = tuple[int, int, int, int]
_known: dict[str, tuple[Stat, str]] = {}


def fingerprint(source: str, endings: Sequence[str] = ENDINGS) -> str:
    """Return 12 hex digits that change with any byte of a model folder that loading it reads; a hub id is its own.

    Names and whole contents of the files enter, so that no tensor, tokenizer or chat template changes unseen.
    """
    folder = Path(source)
    if not folder.is_dir():
        return source
    digest = hashlib.sha256()
    for path in sorted((*folder.iterdir(), *(folder / TEMPLATES).glob("*.jinja"))):
        if path.suffix in endings and path.is_file():
            digest.update(f"{path.relative_to(folder)} {_content(path)}\n".encode())
    return digest.hexdigest()[:12]


def revision(source: str, cache: str | None = None) -> str:
    """Return the commit of a hub's repository that this machine has and loads, empty where `source` is no repository that it has.

    A hub id says which model was meant, and its owner may change what stands there; the commit says which one it was.
    """
    if Path(source).exists() or source.count("/") != 1:
        return ""
    from huggingface_hub import try_to_load_from_cache

    try:
        path = try_to_load_from_cache(source, "config.json", cache_dir=cache)
    except ValueError:  # no name that a repository can have
        return ""
    return Path(path).parent.name if isinstance(path, str) else ""


def file_fingerprint(path: Path) -> str:
    """Return 12 hex digits that change with any byte of a file."""
    return _content(path)[:12]


def _content(path: Path) -> str:
    """Return the SHA-256 of a file; that of a large one from memory or from the user's cache where the file is the same as then."""
    before = _stat(path)
    if before[0] < LARGE:
        return _sha256(path)
    key = str(path.resolve())
    for known in (_known, _read()):
        if key in known and known[key][0] == before:
            _known[key] = known[key]
            return known[key][1]
    content = _sha256(path)
    # A file that changed while it was read, or may still change unseen, is not remembered.
    if before == _stat(path) and time.time() - before[2] / 1e9 > SETTLED:
        _known[key] = (before, content)
        _write()
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stat(path: Path) -> Stat:
    """Return size, inode and the times of the last change."""
    # The time of the inode moves with every write, also where a copy sets the other back.
    stat = path.stat()
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _cache() -> Path:
    return cache_folder() / "fingerprints.json"


def _read() -> dict[str, tuple[Stat, str]]:
    """Return the digests of earlier processes; none where there is no such file, or a damaged one."""
    try:
        lines = json.loads(_cache().read_text(encoding="utf-8"))
        return {str(path): ((*map(int, stat),), str(content)) for path, (stat, content) in lines.items()}  # pyright: ignore[reportReturnType]
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError):
        return {}


def _write() -> None:
    """Keep the digests for later processes, where the user's cache can be written; of two writers at once, one is forgotten."""
    latest = {**_read(), **_known}
    kept = {path: latest[path] for path in list(latest)[-MOST:]}
    try:
        _cache().parent.mkdir(parents=True, exist_ok=True)
        write_text(_cache(), json.dumps(kept))
    except (OSError, RuntimeError):  # a full disk, a home that is read-only or not there at all: it is only slower then
        return

"""Files that appear whole or not at all: what a killed run leaves is the old file or the new one, and nothing between."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The place to write a file to, which takes the name `path` when the block ends well; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    yield part
    os.replace(part, path)


def write_text(path: Path, text: str) -> Path:
    """Write text in UTF-8, whole or not at all; returns the path."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
    return path

"""The user's cache: what holdfast has worked out once and need not work out again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of holdfast's cache: HOLDFAST_CACHE, else `holdfast` in XDG_CACHE_HOME, else in ~/.cache; it need not exist."""
    if chosen := os.environ.get("HOLDFAST_CACHE"):
        return Path(chosen).expanduser()
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "holdfast"

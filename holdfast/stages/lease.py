"""A folder that one machine holds at a time: a lease with owner and time, beside the lock of the file system.

A lock (`flock`) is the kernel's and goes with its process, but on a shared disk one machine need not see another's. So the holder also
writes who it is into a file, and touches it again and again. Who finds another machine's lease waits until it is given back, or was not
touched for `STALE` seconds: its machine is gone then. All times are the shared disk's own, so that machines' clocks need not agree.
"""

import json
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = ".lock-lease"
RENEWED, STALE = 15.0, 120.0  # Seconds between touches, and after which nobody is believed to touch it any more.
WRITTEN = 2.0  # Seconds after which a lease without words is no longer one that is just being written.
HOST = f"{platform.node()}-{uuid.getnode():x}"


@contextmanager
def leased(folder: Path, waiting: str = "", *, renewed: float = RENEWED, stale: float = STALE) -> Iterator[None]:
    """Hold the folder's lease within the context; wait, and say so where `waiting` has words, while another machine holds it.

    On this machine the lock decides, which must be held already: a lease of this machine's is one that a killed process left.
    """
    path, mine = folder / NAME, {"host": HOST, "process": os.getpid(), "lease": uuid.uuid4().hex}
    while not _taken(path, mine, stale):
        if waiting:
            print(
                f"{folder}: {waiting} (on {_owner(path).get('host', 'another machine')})", file=sys.stderr, flush=True
            )
            waiting = ""
        time.sleep(min(renewed, stale) / 4)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, mine, ended, renewed), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        # A machine that slept for longer than `stale` may have lost it to another.
        if _owner(path) == mine:
            path.unlink(missing_ok=True)


def _taken(path: Path, mine: dict[str, object], stale: float) -> bool:
    """Try to take a lease that nobody holds; return whether it is ours."""
    owner = _owner(path)
    # Whose file is still empty has made it this very moment, unless a kill cut it short.
    patience = stale if owner else min(stale, WRITTEN)
    if path.exists() and owner.get("host") != HOST and _age(path) < patience:
        return False
    if not owner and not path.exists():
        try:
            with path.open("x", encoding="utf-8") as file:  # Of two that try at once, one makes it.
                file.write(json.dumps(mine))
        except FileExistsError:
            return False
        return True
    part = path.with_name(f"{path.name}.{mine['lease']}")
    part.write_text(json.dumps(mine), encoding="utf-8")
    os.replace(part, path)
    # Two machines may both have found it stale; the last to write has it, and the other one sees that a moment later.
    if owner and owner.get("host") != HOST:
        time.sleep(min(1.0, stale / 10))
    return _owner(path) == mine


def _owner(path: Path) -> dict[str, object]:
    """Return who holds a lease; nobody where there is none, or one that was cut short while it was written."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _age(path: Path) -> float:
    """Return the seconds since a lease was touched, by the clock of the disk that it is on."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    probe.touch()
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:  # It was given back a moment ago.
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)


def _renew(path: Path, mine: dict[str, object], ended: threading.Event, renewed: float) -> None:
    while not ended.wait(renewed):
        if _owner(path) != mine:
            return
        path.touch()

"""Files that appear whole or not at all: what a killed run leaves is the old file or the new one, and nothing between."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = 1 << 20  # Bytes: with less left than that, a writer that gives no reason failed for want of space.


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield the path to write a file to, which takes the name `path` when the block ends well; the folder is made.

    Raises:
        OSError: the file could not be written; what there was of it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the file: only within one file system is a rename whole or not at all.
    part = path.with_name(path.name + ".part")
    try:
        with writing(path):
            yield part
    except BaseException:  # Ctrl-C too.
        part.unlink(missing_ok=True)
        raise
    os.replace(part, path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to write to, which takes the name `path` when the block ends well.

    Several processes may write the same: the first to end gives the folder its content, and the others' is dropped.

    Raises:
        OSError: the folder could not be written; what there was of it is removed.
    """
    # A name of this process alone.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with writing(path):
            part.mkdir(parents=True)
            yield part
            try:
                os.replace(part, path)
            except OSError:
                if not path.is_dir():  # Another process came first.
                    raise
    finally:  # Ctrl-C too.
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any error of a full disk into an OSError with the file's name, while a file, or a folder of them, is written.

    Raises:
        OSError: the disk is full or fails, whichever library noticed.
    """
    try:
        yield
    except OSError as error:
        # `write` and `fsync` name no file, and a user with two disks must know which is full.
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    except Exception as error:
        # safetensors says `(os error 28)` in an error of its own.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number:
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        # torch's writer of zip files names neither the file nor the reason.
        if isinstance(error, RuntimeError) and re.search("inline_container|PytorchStreamWriter", str(error)):
            full = shutil.disk_usage(path if path.exists() else path.parent).free < FULL
            reason = errno.ENOSPC if full else errno.EIO
            raise OSError(reason, os.strerror(reason), str(path)) from error
        raise


def write_text(path: Path, text: str) -> Path:
    """Write text in UTF-8, whole or not at all; return the path."""
    with whole(path) as part:
        # Line ends as they are: on Windows others would be written, and the file's fingerprint would be another.
        part.write_text(text, encoding="utf-8", newline="")
    return path

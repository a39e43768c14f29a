"""Code of users: run a file that they name, and refuse what a folder that somebody sent would run."""

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

CODE = re.compile(r"\.py\s*:|\bharness:.*@")  # a user's own technique, and a task that a folder describes


def run_file(path: Path) -> ModuleType:
    """Run a user's Python file as a module of its own.

    Raises:
        ValueError: it is no Python, or fails or exits while it runs: one line with the file and the line in it.
    """
    name = "holdfast_own_" + re.sub(r"\W", "_", str(path.resolve()))  # So that no module of another name is hidden.
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Where dataclasses look up annotations that are strings.
    try:
        # Python's own error for a NUL byte has no line number.
        if (position := path.read_bytes().find(b"\0")) >= 0:
            line = path.read_bytes()[:position].count(b"\n") + 1
            raise SyntaxError("holds a NUL byte, so it is no Python text", (str(path), line, None, None))
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # SystemExit would end the command as if it were done.
        del sys.modules[name]
        if isinstance(error, SyntaxError):
            lines, message = [error.lineno], error.msg
        else:
            # The last line that is in the user's file: the error itself may come from deep inside a library.
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
            message = f"{type(error).__name__}: {error}".rstrip(": ")
        message = " ".join(message.split())
        raise ValueError(f"{path}:{(lines or [None])[-1] or 1}: {message}; the file must run as a module") from error
    return module


def refuse_code(content: Any, where: str | Path, *, trust_code: bool) -> None:
    """Refuse what was read from a file where it names code of a user's: a run's folder that somebody sends is no program.

    That is `path/to/file.py:Name` wherever it stands, and a task whose description by `harness:NAME@FOLDER` may call functions of the
    folder. On the command line, or as an argument in Python, both are asked for by whoever runs them.

    Raises:
        ValueError: the file names code, and `trust_code` is off.
    """
    code = sorted({text for text in _texts(content) if CODE.search(text)})
    if code and not trust_code:
        raise ValueError(
            f"{where}: names code that would run with your rights: {', '.join(code)[:200]}; read it first, then give --trust-code "
            "(in Python trust_code=True)"
        )


def _texts(content: Any) -> Iterator[str]:
    """Yield every text in plain data, keys included."""
    # By identity: YAML aliases repeat an object, a few lines of them a billion times, or put it into itself.
    seen: set[int] = set()
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping | Sequence) and id(value) not in seen:
            seen.add(id(value))
            left += [*value, *value.values()] if isinstance(value, Mapping) else [*value]

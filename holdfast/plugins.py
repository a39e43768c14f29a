"""Find plugins by folder: a method, edit or recipe exists because its file does. No list to forget."""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

CODE = re.compile(r"\.py\s*:|\bharness:.*@")  # a user's own technique, and a task that a folder describes


def modules(package: str) -> list[ModuleType]:
    """The modules of a package folder, in name order, `base` excepted."""
    folder = importlib.import_module(package)
    names = sorted(info.name for info in pkgutil.iter_modules(folder.__path__) if info.name != "base")
    return [importlib.import_module(f"{package}.{name}") for name in names]


def members(package: str, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """Public objects defined in the package's own modules for which `wanted` holds, by snake-case name."""
    found = {}
    for module in modules(package):
        for name, member in vars(module).items():
            if not name.startswith("_") and getattr(member, "__module__", None) == module.__name__ and wanted(member):
                found[snake(name)] = member
    return found


def from_file(argument: str, wanted: Callable[[Any], bool], kind: str) -> Any:
    """`path/to/file.py:Name`: a user's own plugin."""
    path, _, name = argument.rpartition(":")
    if not path or not Path(path).exists():
        raise ValueError(
            f"{argument}: write your own {kind} as path/to/file.py:Name; there is no file {path or argument}"
        )
    own = "holdfast_own_" + re.sub(r"\W", "_", str(Path(path).resolve()))  # no module of another name is hidden
    spec = importlib.util.spec_from_file_location(own, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module  # where dataclasses look up annotations that are strings
    spec.loader.exec_module(module)
    member = getattr(module, name, None)
    if member is None or not wanted(member):
        raise ValueError(f"{argument}: {path} defines no {kind} called {name}")
    return member


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
    """Every text in plain data, keys included. An object that YAML aliases repeat is looked at once."""
    seen: set[int] = set()
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping | Sequence) and id(value) not in seen:
            seen.add(id(value))
            left += [*value, *value.values()] if isinstance(value, Mapping) else [*value]


def snake(name: str) -> str:
    """`PromptTuning` -> `prompt_tuning`."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def unknown(kind: str, name: str, known: list[str]) -> ValueError:
    """The error for a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(sorted(known))
    return ValueError(f"unknown {kind} {name!r}; {hint}")


def summary(member: Any) -> str:
    """First line of a docstring."""
    return (inspect.getdoc(member) or "").split("\n")[0]


def source(member: Any) -> str:
    """The `Source:` line of a docstring: the paper, or where the idea comes from."""
    lines = (inspect.getdoc(member) or "").splitlines()
    return next((line.removeprefix("Source:").strip() for line in lines if line.startswith("Source:")), "")

"""The meaning of a TASK argument: a folder, a file, `hf:dataset[:config]`, `everyday:NAME`, `harness:NAME`, `grid:FILE`, a registered
`SCHEME:NAME` such as `lab:NAME`, or a name in the catalogue."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from holdfast.tasks.catalogue.entries import ENTRIES, SUITES
from holdfast.tasks.error_list import nearest
from holdfast.tasks.everyday import suite as everyday
from holdfast.tasks.formats.settings import TaskYaml, read_settings
from holdfast.tasks.loaders import language_grid, registry
from holdfast.tasks.loaders.harness_examples import SUITES as HARNESS_SUITES
from holdfast.tasks.loaders.hub import read_hub
from holdfast.tasks.loaders.icl_probe import LANGUAGES, probe
from holdfast.tasks.loaders.readers import read_file, read_folder
from holdfast.tasks.loaders.transforms import TRANSFORMS, disguised
from holdfast.tasks.task import HARNESS, Task

LONGEST_NAME = 150  # bytes of a task's name in a file's
NONE = "none"  # in the place of general tasks: none, and not those that suit the model


def load_task(argument: str, *, seed: int = 0) -> Task:
    """Return the task that `argument` names; a folder or file that exists goes before a name of the catalogue.

    A catalogue name stands for a dataset on the hub; `NAME@FOLDER` reads the same columns from a local folder instead.
    `seed` chooses what is held out where the data has no validation or test split of its own; the default gives the
    same parts to everyone.

    Raises:
        ValueError: there is no such task (the nearest is named), or its data is wrong (every bad line is listed).
    """
    scheme, colon, rest = argument.partition(":")
    if colon and scheme in registry.schemes():
        return _registered(scheme, rest)
    if argument.startswith(everyday.PREFIX):
        return _everyday(rest)
    if argument.startswith(language_grid.PREFIX):
        if len(cells := language_grid.arguments(argument)) > 1:
            raise ValueError(_several(argument, cells))
        return language_grid.task(cells[0], lambda data: load_task(data, seed=seed))
    if argument in HARNESS_SUITES:
        raise ValueError(_several(argument, [HARNESS + name for name in HARNESS_SUITES[argument]]))
    if argument.startswith(HARNESS):
        return _one_of_harness(argument)
    if colon and scheme in TRANSFORMS:
        return _disguised(scheme, rest, seed)
    if colon and scheme == "probe":
        return _probe(rest, seed)
    if colon and scheme == "hf":
        folder = Path(rest).expanduser()
        return read_hub(rest, read_settings(folder / "task.yaml") if folder.is_dir() else TaskYaml(), seed)
    path = Path(argument).expanduser()
    if path.is_dir():
        return _folder(path, seed)
    if path.is_file():
        return read_file(path, seed)
    name, _, folder = argument.partition("@")
    if name in ENTRIES:
        return _catalogued(name, folder, seed)
    if len(suite := expand(name)) > 1:
        raise ValueError(_several(name, suite))
    raise ValueError(_unknown(argument, path))


def arguments(tasks: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """Return one TASK argument or several as texts."""
    several = [tasks] if isinstance(tasks, str | os.PathLike) else tasks
    return tuple(os.fspath(task) for task in several)


def check_named(arguments: Sequence[str]) -> None:
    """Refuse arguments that name nothing; of all others nothing is read.

    Raises:
        ValueError: there is no such task; the nearest is named.
    """
    for argument in arguments:
        scheme, colon, name = argument.partition(":")
        if colon and scheme in registry.schemes():
            named = name in registry.source(scheme).names()
        elif argument.startswith(everyday.PREFIX):
            named = name in everyday.TASKS
        else:
            entry = argument.partition("@")[0]
            named = (
                bool(colon) or entry in {*ENTRIES, *SUITES, everyday.NAME, NONE} or Path(argument).expanduser().exists()
            )
        if not named:
            load_task(argument)  # which says what is wrong


def is_diagnostic(argument: str) -> bool:
    """Return True where a TASK argument names a task in disguise or a probe."""
    # Such a task shows if an ability is lost or only hidden, and is no general task: it would count the ability twice.
    scheme, colon, _ = argument.partition(":")
    return bool(colon) and (scheme in TRANSFORMS or scheme == "probe")


def without_diagnostics(arguments: Sequence[str]) -> list[str]:
    """Return the tasks that TASK arguments name, a suite as its tasks, but for diagnostics."""
    return [name for name in chain.from_iterable(map(expand, arguments)) if not is_diagnostic(name)]


def short(argument: str) -> str:
    """Return a TASK argument or a task's name as part of a file name."""
    name = re.sub(r"\W+", "-", argument.rstrip("/").rpartition("/")[2]).strip("-")
    # File systems take 255 bytes, and a suffix is to come; a name of signs alone would leave nothing.
    if name and len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}-{hashlib.sha256(argument.encode()).hexdigest()[:8]}".lstrip(
        "-"
    )


def expand(argument: str) -> list[str]:
    """Return the arguments that a suite or a group of the harness stands for, or the argument itself.

    Suites are `everyday`, `promot-eight`, `fticl-five` and `harness:standard`; `SUITE@FOLDER` of `promot-eight` and `fticl-five` has a
    sub-folder for each task. `grid:FILE` is one of languages and languages of prompts (`holdfast.tasks.loaders.language_grid`).
    """
    if argument in HARNESS_SUITES:
        return list(chain.from_iterable(expand(HARNESS + name) for name in HARNESS_SUITES[argument]))
    if argument.startswith(HARNESS):
        return [task.source for task in _harness(argument)]
    if argument.startswith(language_grid.PREFIX):
        return language_grid.arguments(argument)
    if argument == everyday.NAME and not Path(argument).exists():
        return [everyday.PREFIX + name for name in everyday.names()]
    suite, at, folder = argument.partition("@")
    # A folder of the user's with the name of a suite is the user's.
    if suite not in SUITES or Path(argument).expanduser().exists():
        return [argument]
    return [f"{name}@{Path(folder) / name}" if at else name for name in SUITES[suite]]


def load_tasks(argument: str, *, seed: int = 0) -> list[Task]:
    """Return the tasks of a suite, or the one task that `argument` names.

    Raises:
        ValueError: as `load_task`.
    """
    return [load_task(name, seed=seed) for name in expand(argument)]


def listing() -> list[dict[str, str]]:
    """Return every task that has a name, and every suite: name, summary and source of each."""
    named = [(everyday.NAME, f"{len(everyday.names())} tasks in English: everyday:NAME", "a suite")]
    named += [(suite, ", ".join(names), "a suite") for suite, names in (SUITES | HARNESS_SUITES).items()]
    named += [
        (name, e.summary, f"{e.paper} ({e.role}); {e.settings.source or 'a local folder'}")
        for name, e in ENTRIES.items()
    ]
    for scheme in registry.schemes():
        source = registry.source(scheme)
        named += [(f"{scheme}:{name}", source.summary(name), source.ORIGIN) for name in source.names()]
    named += [(everyday.PREFIX + name, t.summary, "the everyday suite") for name, t in everyday.TASKS.items()]
    named += [(f"probe:{name}", "examples in context against an instruction", "arXiv 2309.10105") for name in LANGUAGES]
    named += [(f"{t.name}:TASK", f"a task in disguise: {t.summary}", "arXiv 2309.10105") for t in TRANSFORMS.values()]
    return [{"name": name, "summary": summary, "source": origin} for name, summary, origin in named]


def _folder(folder: Path, seed: int) -> Task:
    settings = read_settings(folder / "task.yaml")
    if settings.source is None:
        return read_folder(folder, settings, seed)
    scheme, _, rest = settings.source.partition(":")
    if scheme != "hf" or not rest:
        where = folder / "task.yaml"
        raise ValueError(f"{where}: `source` is {settings.source!r}; write hf:dataset or hf:dataset:config")
    return read_hub(rest, settings, seed)


def _catalogued(name: str, folder: str, seed: int) -> Task:
    """Return the entry's task from the hub, or from a folder, whose splits have our names."""
    entry = ENTRIES[name]
    settings = replace(entry.settings, name=name)
    if folder:
        if not Path(folder).expanduser().is_dir():
            raise ValueError(f"{name}@{folder}: there is no such folder")
        # A local copy has our split names; those of the entry are the hub's.
        return read_hub(folder, replace(settings, splits=None), seed)
    local = f"give a folder with the columns {', '.join(entry.columns)} as {name}@FOLDER"
    if settings.source is None:
        raise ValueError(f"{name}: the hub has no copy that loads without running the data set's own code; {local}")
    try:
        return read_hub(settings.source.removeprefix("hf:"), settings, seed)
    except ValueError as error:
        raise ValueError(f"{error}; without the hub, {local}") from error


def _harness(argument: str) -> list[Task]:
    from holdfast.tasks.loaders import harness  # the extra `harness` need not be installed

    return harness.load(argument)


def _one_of_harness(argument: str) -> Task:
    tasks = _harness(argument)
    if len(tasks) > 1:
        names = ", ".join(task.source for task in tasks[:8])
        raise ValueError(f"{argument} is a group of {len(tasks)} tasks, and one is needed here; choose of {names} ...")
    return tasks[0]


def _disguised(transform: str, argument: str, seed: int) -> Task:
    if argument.startswith(HARNESS):
        raise ValueError(
            f"{transform}:{argument}: the harness asks its tasks in its own words; they cannot be disguised"
        )
    return disguised(load_task(argument, seed=seed), TRANSFORMS[transform])


def _probe(language: str, seed: int) -> Task:
    if language not in LANGUAGES:
        raise ValueError(
            f"probe:{language}: no such probe; {nearest(language, list(LANGUAGES))}there are {', '.join(LANGUAGES)}"
        )
    return probe(language, seed)


def _registered(scheme: str, name: str) -> Task:
    source = registry.source(scheme)
    if name not in source.names():
        raise ValueError(
            f"{scheme}:{name}: no such task; {nearest(name, source.names(), scheme=f'{scheme}:')}`holdfast tasks` lists the names"
        )
    return source.task(name)


def _several(argument: str, names: Sequence[str]) -> str:
    return f"{argument} is a suite of tasks, and one is needed here; choose of {', '.join(names)}"


def _everyday(name: str) -> Task:
    if name not in everyday.TASKS:
        meant = nearest(name, everyday.names(), scheme=everyday.PREFIX)
        raise ValueError(f"{everyday.PREFIX}{name}: no such task; {meant}there are {', '.join(everyday.names())}")
    return everyday.task(name)


def _unknown(argument: str, path: Path) -> str:
    names = [*ENTRIES, *SUITES, *expand(everyday.NAME), everyday.NAME]
    for scheme in registry.schemes():
        names += [f"{scheme}:{name}" for name in registry.source(scheme).names()]
    if path.parent.is_dir():
        # A mistyped path is as likely as a mistyped name: its neighbours are named too.
        names += [str(path.with_name(other.name)) for other in path.parent.iterdir()]
    return f"{argument}: no such folder, file or task; {nearest(argument, names)}`holdfast tasks` lists the names"

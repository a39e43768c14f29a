"""What a TASK argument means: a folder, a file, `hf:dataset[:config]`, `lab:NAME`, or a name in the catalogue."""

from pathlib import Path

from holdfast.tasks.hub import read_hub
from holdfast.tasks.problems import nearest
from holdfast.tasks.readers import read_file, read_folder
from holdfast.tasks.settings import Settings, read_settings
from holdfast.tasks.task import Task


def load_task(argument: str, *, seed: int = 0) -> Task:
    """The task that `argument` names; a folder or file that exists goes before a name.

    `seed` chooses what is held out where the data has no validation or test split of its own; the default gives the
    same parts to everyone.

    Raises:
        ValueError: there is no such task (the nearest is named), or its data is wrong (every bad line is listed).
    """
    kind, colon, rest = argument.partition(":")
    if colon and kind == "lab":
        return _lab(rest)
    if colon and kind == "hf":
        folder = Path(rest).expanduser()
        return read_hub(rest, read_settings(folder / "task.yaml") if folder.is_dir() else Settings(), seed)
    path = Path(argument).expanduser()
    if path.is_dir():
        return _folder(path, seed)
    if path.is_file():
        return read_file(path, seed)
    raise ValueError(_unknown(argument, path))


def _folder(folder: Path, seed: int) -> Task:
    settings = read_settings(folder / "task.yaml")
    if settings.source is None:
        return read_folder(folder, settings, seed)
    kind, _, rest = settings.source.partition(":")
    if kind != "hf" or not rest:
        raise ValueError(
            f"{folder / 'task.yaml'}: `source` is {settings.source!r}; write hf:dataset or hf:dataset:config"
        )
    return read_hub(rest, settings, seed)


def _lab(name: str) -> Task:
    from holdfast.lab import world

    if name not in world.names():
        raise ValueError(
            f"lab:{name}: no such task; {nearest(name, world.names())}there are: {', '.join(world.names())}"
        )
    return world.task(name)


def _unknown(argument: str, path: Path) -> str:
    from holdfast.lab import world

    names = [f"lab:{name}" for name in world.names()]
    if path.parent.is_dir():
        names += [str(path.with_name(other.name)) for other in path.parent.iterdir()]
    hint = nearest(argument, names)
    return f"{argument}: no such folder, file or task; {hint}`holdfast tasks` lists the names"

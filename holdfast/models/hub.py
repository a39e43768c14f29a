"""A name that is no folder, before anything is fetched for it: a slip of the pen, or a hub that cannot be reached, in one line at once."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from holdfast.models.endpoint import endpoint_of
from holdfast.tasks.error_list import nearest
from holdfast.tasks.hub_reach import TIMEOUT, go_offline, unreachable

BUILT_IN = ("lab", "smollm2")


def check_reachable(source: str | Path) -> None:
    """Refuse a name behind which no model can be: no folder, not in the hub's cache, and near a built-in name or out of reach.

    A hub that answers, whatever it says, is asked by transformers again, which knows what its answers mean. Of a model that is in the
    cache nothing is asked where the hub is out of reach.

    Raises:
        ValueError: as above; with what to do.
    """
    name = str(source)
    if Path(name).exists():
        return
    if cached_folder(name):
        if reason := unreachable(name):
            go_offline(reason)
        return
    path = Path(name)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:  # A hub id has one slash at most.
        raise ValueError(f"{name}: no such folder{_beside(path)}")
    if "/" not in name and (near := nearest(name.lower(), BUILT_IN)):
        raise ValueError(f"{name}: no such folder or model; {near}A model of the hub can be named OWNER/NAME")
    if reason := unreachable(name):
        raise ValueError(
            f"{name}: no such folder here, and as a hub id it cannot be loaded: the hub cannot be reached ({reason}), and its cache has no "
            f"such model; name a local folder, or fetch it where there is a network (`hf download {name} --local-dir FOLDER`)"
        )


def check_gguf(name: str) -> None:
    """Refuse the name of a GGUF file that is not there.

    Raises:
        ValueError: as above; the nearest name beside it is suggested.
    """
    if not Path(name).expanduser().is_file():
        raise ValueError(f"{name}: there is no such GGUF file{_beside(Path(name).expanduser())}")


def _beside(path: Path) -> str:
    """Return the nearest name in the folder that a path leads to, as the end of a message; empty where there is none."""
    near = nearest(path.name, (other.name for other in path.parent.iterdir())) if path.parent.is_dir() else ""
    return f"; {near.strip()}" if near else ""


def check_named(arguments: Iterable[str]) -> None:
    """Refuse MODEL arguments that name nothing; nothing of the others is read.

    Raises:
        ValueError: as `check_reachable` and `check_gguf`; or one names a server in another form than `openai:URL#NAME`.
    """
    for argument in arguments:
        if endpoint_of(argument) is None and argument not in BUILT_IN:
            (check_gguf if argument.endswith(".gguf") else check_reachable)(argument)


def can_be_had(source: str) -> bool:
    """Return whether a name leads to a model: a folder or file of one, a built-in name, or a hub id that is cached or that the hub has."""
    path = Path(source)
    if path.exists():
        # Where a model was moved away its folder may be left; that of an adapter has a configuration of its own.
        return path.is_file() or any((path / name).is_file() for name in ("config.json", "adapter_config.json"))
    if source in BUILT_IN or cached_folder(source):
        return True
    # A hub id has one slash at most, and begins with no sign of a path.
    return source.count("/") <= 1 and not path.is_absolute() and not source.startswith((".", "~")) and _listed(source)


@cache
def _listed(name: str) -> bool:
    """Return whether the hub can be reached and has a model of this name."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=TIMEOUT)
    except Exception:  # of the hub's client, of its network library, or of the system, as below
        return False
    return True


def cached_folder(name: str) -> Path | None:
    """Return the folder of the hub's cache that holds a model's files; None where there is none."""
    from huggingface_hub import try_to_load_from_cache

    try:
        files = [
            try_to_load_from_cache(name, file) for file in ("config.json", "tokenizer_config.json", "tokenizer.json")
        ]
    except ValueError:  # no name that a hub could have
        return None
    return next((Path(file).parent for file in files if isinstance(file, str)), None)

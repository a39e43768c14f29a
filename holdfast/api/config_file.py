"""Read the `config.yaml` of a run, which `holdfast run` repeats; without torch, so that a mistake in it is named at once."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from holdfast.plugins import refuse_code
from holdfast.tasks.error_list import short_repr
from holdfast.tasks.yaml_files import read_yaml

# By the names of the arguments of `tune`, which checks what the values say.
NEEDED: dict[str, TypeAdapter[Any]] = {
    "model": TypeAdapter(str),
    "task": TypeAdapter(str | list[str]),
    "method": TypeAdapter(str),
    "stages": TypeAdapter(dict[str, dict[str, Any]]),
}
OPTIONAL: dict[str, TypeAdapter[Any]] = {
    **dict.fromkeys(("curate", "edit", "decode", "probe"), TypeAdapter(str | None)),
    "general": TypeAdapter(str | list[str] | None),
    "shots": TypeAdapter(Annotated[list[Annotated[int, Field(ge=0, le=1000)]], Field(min_length=1)]),
    "limit": TypeAdapter(Annotated[int | None, Field(ge=1)]),
    "seed": TypeAdapter(int),
    "date": TypeAdapter(Any),
    "noise_floor": TypeAdapter(bool),
    "analyses": TypeAdapter(list[str]),
    "dtype": TypeAdapter(str),
    "demonstrations": TypeAdapter(str),
}


def read_config(path: Path, *, trust_code: bool = False) -> dict[str, Any]:
    """Return what a `config.yaml` says.

    Raises:
        ValueError: this is not the config.yaml of a run, a value is of another type than `tune` writes, or the file names code and
            `trust_code` is off.
    """
    try:
        config = read_yaml(path, "every run's folder holds its config.yaml")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; every run's folder holds its config.yaml") from None
    if not isinstance(config, dict) or any(key not in config for key in NEEDED):
        raise ValueError(f"{path}: not the config.yaml of a run; it needs {', '.join(NEEDED)}")
    refuse_code(config, path, trust_code=trust_code)
    for key, adapter in (NEEDED | OPTIONAL).items():
        if key not in config:
            continue
        try:
            adapter.validate_python(config[key])
        except ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            raise ValueError(f"{path}: `{key}`: {short_repr(config[key])}: {reason}") from None
    return config

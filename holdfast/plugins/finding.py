"""Import a technique once it is used: a built-in one by its name, a user's own by its file, and check that it can do something."""

import difflib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from holdfast.plugins.family import MARK, Family, unknown
from holdfast.plugins.listing import Technique, described, techniques
from holdfast.plugins.user_code import run_file


def find(argument: str, *families: Family, label: str = "") -> Any:
    """Return the class or function for a name, or for `path/to/file.py:Name`, a user's own; `label` is for messages.

    Raises:
        ValueError: there is none (the nearest name is suggested), or it is no technique of these families.
    """
    if ".py:" in argument:
        return from_file(argument, *families)
    known: list[str] = []
    for family in families:
        if argument in techniques(family):
            return _load(family, techniques(family)[argument])
        known += techniques(family)
    raise unknown(label or families[0].name, argument, known)


def configure(family: Family, name: str, settings: Mapping[str, Any], section: str = "") -> Any:
    """Return a technique of a family with its fields set; `section` stands before the point where `--set` names a field.

    Raises:
        ValueError: there is no such technique or field, or a value does not fit.
    """
    from pydantic import ValidationError  # Here, because `holdfast --help` lists techniques and sets no field.

    technique = find(name, family)
    prefix = f"{section}." if section else ""
    known = [prefix + field.name for field in fields(technique)]
    for key in settings:
        if prefix + key not in known:
            raise unknown(f"field of {family.name} {name!r}:", prefix + key, known)
    try:
        return technique(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        label = section or name
        if first["loc"]:  # An error of the whole technique, and not of a field, has no location.
            label += f".{'.'.join(map(str, first['loc']))}={first['input']!r}"
        raise ValueError(f"{label}: {first['msg'].removeprefix('Value error, ')}") from None


def members(family: Family) -> dict[str, Any]:
    """Import a family, and return every class or function of it by name."""
    return {name: _load(family, technique) for name, technique in techniques(family).items()}


def _load(family: Family, technique: Technique) -> Any:
    member = getattr(importlib.import_module(technique.module), technique.symbol)
    check(member, family, f"{technique.module}: {technique.symbol}")
    return member


def from_file(argument: str, *families: Family) -> Any:
    """Run a user's file and return the technique that `path/to/file.py:Name` names.

    Raises:
        ValueError: there is no such file, running it fails, or the name in it is no technique of these families.
    """
    path, _, name = argument.rpartition(":")
    label = " or ".join(family.name for family in families)
    if not path or not Path(path).is_file():
        raise ValueError(
            f"{argument}: write your own {label} as path/to/file.py:Name; there is no file {path or argument}"
        )
    module = run_file(Path(path))
    member = getattr(module, name, None)
    if member is None:
        raise ValueError(f"{argument}: {path} defines no {label} called {name}")
    for family in families:
        if belongs(member, family):
            check(member, family, argument)
            return member
    raise ValueError(f"{argument}: {name} is no {label}; {', or '.join(family.advice for family in families)}")


def known(argument: str, *families: Family) -> dict[str, Technique]:
    """Return every technique of families by name, and the one that `path/to/file.py:Name` names where the argument is of that form.

    Raises:
        ValueError: there is no such file, running it fails, or the name in it is no technique of these families.
    """
    listed: dict[str, Technique] = {}
    for family in families:
        listed |= techniques(family)
    if ".py:" in argument:
        member = from_file(argument, *families)
        family = next(family for family in families if belongs(member, family))
        listed[argument] = described(family, member, argument)
    return listed


def belongs(member: Any, family: Family) -> bool:
    """Return whether a class or function is registered as a technique of a family."""
    if family.by_decorator:
        return getattr(member, MARK, None) == family.name
    base = getattr(importlib.import_module(family.home), family.registrar)
    return isinstance(member, type) and issubclass(member, base) and member is not base


def check(member: Any, family: Family, label: str) -> None:
    """Refuse a class that registers and yet cannot do anything, or that leaves its fields unread.

    Raises:
        ValueError: a required method is missing, no hook is overridden, a hook's name is misspelt or of an earlier version, or its
            parameters are others than it is called with; or it is no dataclass.
    """
    if family.by_decorator:
        return
    if missing := sorted(getattr(member, "__abstractmethods__", ())):
        raise ValueError(f"{label}: lacks {', '.join(missing)}, which every {family.name} of this sort defines")
    base = getattr(importlib.import_module(family.home), family.registrar)
    hooks = [name for name, hook in vars(base).items() if callable(hook) and (name[0] != "_" or name == "__call__")]
    # A misspelt hook is never called, one of an earlier version neither, and nothing would say so.
    for name, successor in family.former:
        if hasattr(member, name):
            raise ValueError(f"{label}: nothing reads {name} any more; define {successor} in its place")
    for name, function in vars(member).items():
        near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.8)
        if inspect.isfunction(function) and near and name not in hooks and name[0] != "_":
            raise ValueError(f"{label}: {name} is no part of a {family.name}; did you mean {near[0]!r}?")
    _check_parameters(member, base, label)
    if all(getattr(member, name) is getattr(base, name) for name in hooks):
        raise ValueError(f"{label}: does nothing; define one of {', '.join(hooks)}")
    annotations = [name for name, text in inspect.get_annotations(member).items() if "ClassVar" not in str(text)]
    if not is_dataclass(member) or (annotations and "__dataclass_fields__" not in vars(member)):
        raise ValueError(f"{label}: is no dataclass, so its fields cannot be set; put @dataclass of pydantic above it")


def _check_parameters(member: type, base: type, label: str) -> None:
    """Refuse a function that takes other parameters than the one of the library that it overrides; their names may differ."""
    # Called wrongly it would fail in the first step, after the base was measured.
    kin = [ancestor for ancestor in member.__mro__ if issubclass(ancestor, base)]
    for name in dir(member):
        written = inspect.getattr_static(member, name)
        if not inspect.isfunction(written) or (name[0] == "_" and name != "__call__"):
            continue
        first = next(ancestor for ancestor in reversed(kin) if name in vars(ancestor))
        declared = vars(first)[name]
        if first.__module__.split(".")[0] != __name__.split(".")[0] or not inspect.isfunction(declared):
            continue
        called = inspect.signature(declared).parameters.values()
        by_name = {p.name: None for p in called if p.kind is p.KEYWORD_ONLY}
        by_position = [None for p in called if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        try:
            inspect.signature(written).bind(*by_position, **by_name)
        except TypeError:
            raise ValueError(
                f"{label}: {_call(name, written)} is called as {_call(name, declared)}; take these parameters"
            ) from None


def _call(name: str, function: Any) -> str:
    """Return a function's head without types, such as `penalty(self, model)`."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return f"{name}{signature.replace(parameters=parameters, return_annotation=signature.empty)}"

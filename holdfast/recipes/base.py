"""What `--method NAME` means: a recipe of this folder, a method of `methods/` on its own, or a user's own of either."""

import inspect
from collections.abc import Callable
from typing import Any

from holdfast import discovery
from holdfast.methods.base import Method
from holdfast.stages.base import Stage
from holdfast.stages.fields import Fields

Recipe = Callable[[Fields], list[Stage]]


def is_method(member: Any) -> bool:
    """A class that a training stage can hold."""
    return inspect.isclass(member) and issubclass(member, Method) and member is not Method


def is_recipe(member: Any) -> bool:
    """A public function of `Fields`."""
    return inspect.isfunction(member) and list(inspect.signature(member).parameters) == ["fields"]


def recipes() -> dict[str, Recipe]:
    """Every recipe of the folder by name."""
    return discovery.members("holdfast.recipes", is_recipe)


def methods() -> dict[str, type[Method]]:
    """Every training method by name."""
    return discovery.members("holdfast.methods", is_method)


def alone(kind: type[Method]) -> Recipe:
    """The recipe that trains with one method and nothing else."""

    def recipe(fields: Fields) -> list[Stage]:
        return [fields.train(kind.stage, kind)]

    return recipe


def find(name: str) -> Recipe:
    """The recipe behind a name.

    Raises:
        ValueError: there is none; the nearest name is given.
    """
    if ".py:" in name:
        member = discovery.from_file(name, lambda m: is_method(m) or is_recipe(m), "method")
        return alone(member) if is_method(member) else member
    known = recipes() | {key: alone(kind) for key, kind in methods().items()}
    if name not in known:
        raise discovery.unknown("method", name, list(known))
    return known[name]


def listing() -> list[dict[str, str]]:
    """Recipes and methods with summary and source, for `holdfast methods`."""
    known: dict[str, Any] = {**recipes(), **methods()}
    return [
        {"name": n, "summary": discovery.summary(m), "source": discovery.source(m)} for n, m in sorted(known.items())
    ]

"""What `--method NAME` means: a recipe of this folder, a method of `methods/` on its own, or a user's own of either.

`NAME+OTHER` adds methods that leave the choice of parameters to the first, such as a penalty: `promot+l2_sp`.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from holdfast import plugins
from holdfast.methods.base import Method
from holdfast.recipes.plan import Fields
from holdfast.stages.stage import Stage

Recipe = Callable[[Fields], list[Stage]]


def is_method(member: Any) -> bool:
    """A class that a training stage can hold."""
    return inspect.isclass(member) and issubclass(member, Method) and member is not Method


def is_recipe(member: Any) -> bool:
    """A public function of `Fields`."""
    return inspect.isfunction(member) and list(inspect.signature(member).parameters) == ["fields"]


def recipes() -> dict[str, Recipe]:
    """Every recipe of the folder by name."""
    return plugins.members("holdfast.recipes", is_recipe)


def methods() -> dict[str, type[Method]]:
    """Every training method by name."""
    return plugins.members("holdfast.methods", is_method)


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
    first, *others = name.split("+")
    recipe, joining = _find(first), tuple(_joining(other) for other in others)

    def composed(fields: Fields) -> list[Stage]:
        stages = recipe(replace(fields, joining=joining))
        taken = {type(method) for stage in stages for method in getattr(stage, "methods", ())}
        for kind, other in zip(joining, others, strict=True):
            if kind not in taken:
                raise ValueError(f"{name}: {first} trains no model that {other} could take part in; leave it out")
        return stages

    return composed if joining else recipe


def _find(name: str) -> Recipe:
    if ".py:" in name:
        member = plugins.from_file(name, lambda m: is_method(m) or is_recipe(m), "method")
        return alone(member) if is_method(member) else member
    known = recipes() | {key: alone(kind) for key, kind in methods().items()}
    if name not in known:
        raise plugins.unknown("method", name, list(known))
    return known[name]


def _joining(name: str) -> type[Method]:
    if ".py:" in name:
        return plugins.from_file(name, is_method, "method")
    if name not in methods():
        raise plugins.unknown("method to join another:", name, list(methods()))
    return methods()[name]


def chooses(kind: type[Method]) -> bool:
    """Whether a method says which parameters move, so that it can stand alone."""
    return kind.parameters is not Method.parameters


def listing() -> list[dict[str, str]]:
    """Recipes and methods with summary and source, for `holdfast methods`; `+name` is one that joins another."""
    known: dict[str, Any] = {**recipes(), **methods()}
    joins = {name for name, kind in methods().items() if not chooses(kind)}
    return [
        {
            "name": f"+{name}" if name in joins else name,
            "summary": plugins.summary(member),
            "source": plugins.source(member),
        }
        for name, member in sorted(known.items(), key=lambda item: (item[0] in joins, item[0]))
    ]

"""Resolve `--method NAME`: a recipe of this folder, a method of `methods/` by itself, or a user's own of either.

`NAME+OTHER` adds methods that leave the choice of parameters to the first, such as a penalty: `promot+l2_sp`. Behind a recipe, a method
that chooses parameters itself takes the place of the recipe's own choice where the model is trained: `promot+corda`, `fticl+osf`.
"""

from dataclasses import replace

from holdfast import plugins
from holdfast.methods.base import Method
from holdfast.plugins import METHODS, RECIPES
from holdfast.recipes.assignments import split_choice
from holdfast.recipes.base import Recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


def find_recipe(name: str) -> Recipe:
    """Return the recipe for a name.

    Raises:
        ValueError: there is none; the nearest name is suggested.
    """
    (first, *others), chosen = _choices(name)
    member = plugins.find(first, METHODS, RECIPES)
    recipe = single_method(member) if plugins.belongs(member, METHODS) else member
    joining = tuple(plugins.find(other, METHODS, label="method to join another:") for other in others)
    tuners = [
        method for method in joining if method.chooses_parameters and method.moves_the_model and not method.stages
    ]
    # Beside a single method it stays among those that join, and is refused: two choices of parameters have no meaning.
    tuner = tuners[0] if len(tuners) == 1 and not plugins.belongs(member, METHODS) else None
    beside = tuple(method for method in joining if method is not tuner)

    # Here and not where stages are made: a stage that trains a prompt alone takes no joining method, and would pass this over.
    for method, other in zip(joining, others, strict=True):
        if method.chooses_parameters and method is not tuner:
            raise ValueError(f"{name}: {first} and {other} both choose which parameters move; keep one")

    def composed(plan: RecipePlan) -> list[Stage]:
        stages = recipe(replace(plan, joining=beside, tuner=tuner))
        taken: set[type] = set()
        for stage in stages:
            taken |= {type(method) for method in getattr(stage, "methods", ())}
        # Refused, because a penalty that nothing trains with would leave no trace in the results.
        for method, other in zip(joining, others, strict=True):
            if method not in taken:
                raise ValueError(f"{name}: {first} trains no model that {other} could take part in; leave it out")
        return stages

    return _with_choices(composed if joining else recipe, name, chosen)


def _choices(name: str) -> tuple[list[str], dict[str, str]]:
    """Return the names that pluses part, without their choices, and these as fields of the stage that trains the model."""
    names: list[str] = []
    chosen: dict[str, str] = {}
    for part in name.split("+"):
        technique, field = split_choice(part, METHODS)
        names.append(technique)
        chosen |= field
    return names, chosen


def _with_choices(recipe: Recipe, name: str, chosen: dict[str, str]) -> Recipe:
    """Return the recipe with fields set that stand in its name, such as `peft:IA3`."""

    def choosing(plan: RecipePlan) -> list[Stage]:
        section = plan.settings("model")
        for field, value in chosen.items():
            # The same value is no contradiction: `repeat` passes all that config.yaml shows.
            if section.get(field, value) != value:
                raise ValueError(f"model.{field}={section[field]!r}: {name} says {value!r}; leave one out")
        return recipe(replace(plan, set={**plan.set, "model": {**section, **chosen}}))

    return choosing if chosen else recipe


def single_method(method: type[Method]) -> Recipe:
    """Return the recipe that trains with one method and nothing else."""

    def recipe(plan: RecipePlan) -> list[Stage]:
        return [plan.train("model" if method.moves_the_model else "prompt", method)]

    return recipe

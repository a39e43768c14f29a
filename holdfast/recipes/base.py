"""Registration of recipes: `@recipe` above a function from `RecipePlan` to stages."""

from collections.abc import Callable

from holdfast import plugins
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage

Recipe = Callable[[RecipePlan], list[Stage]]


def recipe(function: Recipe) -> Recipe:
    """Register a function as a recipe: `--method` of its name runs the stages that it returns, the last of which is the tuned model."""
    return plugins.register(plugins.RECIPES, function)

"""Rounds of answers and preferences: the engine of the recipes that train on pairs of the model's own answers, again and again."""

from dataclasses import replace

from holdfast.curation.base import Curation
from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.curate import Curate
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train


def rounds(
    plan: RecipePlan, count: int, technique: Curation, method: type[Method], start: Train | None = None
) -> list[Stage]:
    """Return so many rounds of a curation by the model as it is then, or that of `--curate`, and of training on what it made."""
    stages: list[Stage] = []
    chosen = [task for task in plan.tasks if isinstance(task, Curate)]
    for number in range(count):
        # Another seed in each round: a question would otherwise meet the very draws of the round before.
        curated = [replace(task, start=start) for task in chosen] or plan.curated(technique, start)
        curated = tuple(replace(task, seed=plan.seed + 1009 * number) for task in curated)
        start = plan.train("model", Full, method, tasks=curated, start=start)
        stages.append(start)
    return stages

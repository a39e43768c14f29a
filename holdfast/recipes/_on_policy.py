"""Data that is made anew in each round, by the model as it is then: what the recipes of several rounds share."""

from dataclasses import replace

from holdfast.curation.base import Curation
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.curate import Curate
from holdfast.stages.train import Train


def curated_anew(plan: RecipePlan, technique: Curation, number: int, start: Train | None) -> tuple[Curate, ...]:
    """Return the stages that curate every target in round `number` (from 0), by `--curate` or the technique, with the model of `start`."""
    chosen = tuple(replace(task, start=start) for task in plan.tasks if isinstance(task, Curate))
    # Another seed in each round: a question would otherwise meet the very draws of the round before.
    return tuple(replace(task, seed=plan.seed + 1009 * number) for task in chosen or plan.curated(technique, start))

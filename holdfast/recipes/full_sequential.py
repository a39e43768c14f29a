"""Full fine-tuning on one task after another."""

from holdfast.methods.full import Full
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train


@recipe
def full_sequential(plan: RecipePlan) -> list[Stage]:
    """Full fine-tuning on each target in turn, each from the weights before it: what sequential ProMoT is compared with.

    Source: the plain control of sequential ProMoT (Wang et al. 2022, arXiv:2211.00635v1), which the paper does not have
    """
    stages: list[Stage] = []
    before: Train | None = None
    for task in plan.tasks:
        # One section `model` sets every target alike, so that the order alone tells them apart.
        before = plan.train("model", Full, tasks=(task,), start=before)
        stages.append(before)
    return stages

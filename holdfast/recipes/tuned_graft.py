"""Tune, then find the few numbers that hold what was learned."""

from dataclasses import replace

from holdfast.methods.full import Full
from holdfast.methods.graft_mask import GraftMask
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


@recipe
def tuned_graft(plan: RecipePlan) -> list[Stage]:
    """All weights train; then a mask is learned over what changed, and all weights outside it are the base's again.

    `dense.*` sets the first phase and `model.*` the second, `--set model.density=0.01` the share of weights that its mask starts with.

    Source: Panigrahi et al. 2023, "Task-specific skill localization in fine-tuned language models" (ICML), section 2
    """
    # What joins (`+replay`) takes part where the combination is learned, and leaves the tuning before it as it is.
    dense = replace(plan, joining=(), tuner=None).train("dense", Full)
    return [dense, plan.train("model", GraftMask, stages={"dense": dense})]

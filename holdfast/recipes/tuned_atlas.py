"""Tune, then learn how much of each tensor's change to keep."""

from dataclasses import replace

from holdfast.methods.atlas import Atlas
from holdfast.methods.full import Full
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


@recipe
def tuned_atlas(plan: RecipePlan) -> list[Stage]:
    """All weights train; then one coefficient per tensor is learned that says how much of its change stays.

    A learned LiNeS where general tasks are learned beside the coefficients: `tuned_atlas+replay --set model.replay_tasks=...`. (`+kl_base`
    holds on the target's own questions alone, and in the study of this paper nothing else.) The coefficients begin at 1, the tuned
    model (`--set model.initial=0` begins at the base). `dense.*` sets the first phase, `model.*` the second.

    Source: Zhang et al. 2024, "Knowledge composition using task vectors with learned anisotropic scaling" (NeurIPS), section 3
    """
    # What joins (`+replay`) takes part where the combination is learned, and leaves the tuning before it as it is.
    dense = replace(plan, joining=(), tuner=None).train("dense", Full)
    return [dense, plan.train("model", Atlas, stages={"dense": dense}, initial=1.0, weight_decay=0.0)]

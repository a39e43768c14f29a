"""LT-SFT: a dense training finds the weights that matter, and they alone are trained again from the start."""

from holdfast.methods.full import Full
from holdfast.methods.sparse_mask import SparseMask
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


@recipe
def lt_sft(plan: RecipePlan) -> list[Stage]:
    """All weights train; then the share that moved furthest trains again from the start, and all others stay as they were.

    `--set model.density=0.01` is that share. `dense.*` sets the first phase, `model.*` the second.

    Source: Ansell et al. 2022, "Composable sparse fine-tuning for cross-lingual transfer" (ACL), section 3
    """
    dense = plan.train("dense", Full)
    # The mask is read from the dense stage, and this one starts from the base again: the paper rewinds to it.
    return [dense, plan.train("model", SparseMask, stages={"dense": dense})]

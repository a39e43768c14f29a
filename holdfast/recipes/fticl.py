"""FTICL: fine-tuning with demonstrations in the context."""

from holdfast.methods.full import Full
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


@recipe
def fticl(plan: RecipePlan) -> list[Stage]:
    """Full fine-tuning behind the same first demonstrations for every example, loss on the example's own answer only.

    `--set model.sampling=sampled` draws them anew for each example, `--set model.loss_on=all` learns their answers too, and
    `--set model.truncation=right` cuts long rows where the paper's code does, at the target; the share that it cut is reported.

    Source: Yang et al. 2024, "Unveiling the generalization power of fine-tuned large language models" (NAACL), section 3.3
    """
    # The same demonstrations for every example, so that the rows of a batch share their computation.
    return [plan.train("model", Full, demonstrations=2, sampling="first")]

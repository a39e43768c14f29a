"""Two phases: what a curation selects first, then the target."""

from holdfast.methods.full import Full
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


@recipe
def warm_up(plan: RecipePlan) -> list[Stage]:
    """Train on what the curation made first (`--curate got_d --set curate.target=false`), and on the target's own examples afterwards.

    Also from other tasks to the target: `--curate mix --set curate.shares=target=0`. Without a curation both phases train on the target.

    Source: Kang et al. 2024, "Get more for less" (ICLR), section 2; Gupta et al. 2023, "Instruction tuned models are quick learners"
    """
    first = plan.train("warm", Full)
    return [first, plan.train("model", Full, tasks=plan.targets, start=first)]

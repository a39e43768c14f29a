"""Poly and multi-head routing: low-rank skills are trained on several tasks, and mixed anew for the target."""

from typing import Literal

from holdfast.methods.skill_training import SkillTraining
from holdfast.methods.skill_transfer import SkillTransfer
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


def two_phases(plan: RecipePlan, splits: int, adapt: Literal["all", "routing", "average"]) -> list[Stage]:
    """Train skills on the source tasks, then adapt them to the targets."""
    # No validation there: with the average, the one thing that has no task, it would choose by another model than the next phase takes.
    skills = plan.train("skills", SkillTraining, tasks=plan.sources("skills"), splits=splits, validation_limit=0)
    transfer = {"adapt": adapt}
    return [skills, plan.train("model", SkillTransfer, pinned=transfer, stages={"skills_of": skills})]


@recipe
def poly(plan: RecipePlan) -> list[Stage]:
    """Low-rank skills and their mixture are trained on source tasks (`--set skills.tasks=a,b,c`), then adapted to the target.

    Without source tasks the targets are their own. The result is a plain LoRA.

    Source: Ponti et al. 2023, "Combining parameter-efficient modules for task-level generalisation" (EACL)
    """
    return two_phases(plan, 1, "all")


@recipe
def mhr(plan: RecipePlan) -> list[Stage]:
    """Poly whose skills are mixed part by part: multi-head routing (`--set skills.splits=4`, `skills.tasks=a,b,c`).

    Source: Caccia et al. 2023, "Multi-head adapter routing for cross-task generalization" (NeurIPS), section 3
    """
    return two_phases(plan, 4, "all")


@recipe
def mhr_z(plan: RecipePlan) -> list[Stage]:
    """Multi-head routing that learns for the target only how the skills are mixed: a few hundred numbers.

    Source: Caccia et al. 2023, "Multi-head adapter routing for cross-task generalization" (NeurIPS), section 4 (MHR-z)
    """
    return two_phases(plan, 4, "routing")


@recipe
def mhr_mu(plan: RecipePlan) -> list[Stage]:
    """Multi-head routing in the source phase alone; the target tunes the average of its skills, a single LoRA.

    Source: Caccia et al. 2023, "Multi-head adapter routing for cross-task generalization" (NeurIPS), section 4 (MHR-mu)
    """
    return two_phases(plan, 4, "average")

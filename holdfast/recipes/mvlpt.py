"""One prompt is trained on several source tasks together, and each target's prompt starts from it."""

from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.methods.transferred_prompt import TransferredPrompt
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train


def prompts_of(plan: RecipePlan) -> tuple[Train, tuple[Train, ...]]:
    """Return the stage that trains the source prompt, and a stage for each target that goes on from it."""
    source = plan.train("source", PromptTuning, tasks=plan.sources("source"))
    before = {"source": source}
    return source, tuple(plan.train("prompt", TransferredPrompt, tasks=(task,), stages=before) for task in plan.tasks)


@recipe
def mvlpt(plan: RecipePlan) -> list[Stage]:
    """One soft prompt is trained on source tasks together (`--set source.tasks=a,b,c`); each target's prompt goes on from it.

    Without source tasks the targets are their own. Every weight of the model stays.

    Source: Shen et al. 2024, "Multitask vision-language prompt tuning" (WACV), section 3.2, of which this is the part for text
    """
    source, prompts = prompts_of(plan)
    return [source, *prompts]


@recipe
def promot_mvlpt(plan: RecipePlan) -> list[Stage]:
    """ProMoT whose stage 1 goes on from a prompt that source tasks trained together (`--set source.tasks=a,b,c`).

    Source: Wang et al. 2024 (ICLR), section 4, with the start of stage 1 after Shen et al. 2024 (WACV)
    """
    source, prompts = prompts_of(plan)
    return [source, *prompts, plan.train("model", Full, prompts=prompts)]

"""ProMoT's control: a prompt that never learned anything."""

from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


@recipe
def fixed_prompt(plan: RecipePlan) -> list[Stage]:
    """Full fine-tuning behind a random, untrained prompt: what ProMoT would be if any prompt did.

    Source: Wang et al. 2024 (ICLR), table 6, "fixed random prompt"
    """
    # The default init takes words of the training text, which already say something about the task.
    prompts = plan.each("prompt", PromptTuning, pinned={"steps": 0}, init="uniform")
    return [*prompts, plan.train("model", Full, prompts=prompts)]

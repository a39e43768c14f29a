"""ProMoT with a demonstration in front of every input."""

from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


@recipe
def promot_one_shot(plan: RecipePlan) -> list[Stage]:
    """ProMoT whose both stages see one demonstration, drawn anew from the train split for each example and pass.

    Source: Wang et al. 2024 (ICLR), section 4, "ProMoT + 1-shot"
    """
    # In both stages, so that the prompt takes up the format from rows like those that the model then trains on.
    prompts = plan.each("prompt", PromptTuning, demonstrations=1, sampling="sampled")
    return [*prompts, plan.train("model", Full, prompts=prompts, demonstrations=1, sampling="sampled")]

"""ProMoT on one task after another."""

from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train


@recipe
def promot_sequential(plan: RecipePlan) -> list[Stage]:
    """ProMoT on each target in turn, each from the weights before it and with a prompt of its own, which later tasks leave alone.

    The settings `prompt` and `model` are shared by all targets; old ones are measured with their own prompt on the last weights.

    Source: Wang et al. 2022, first version of the ProMoT paper (arXiv:2211.00635v1), "sequential"
    """
    stages: list[Stage] = []
    before: Train | None = None
    for task in plan.tasks:
        # Trained on the weights that it will stand before, not on the base: these have moved since.
        prompt = plan.train("prompt", PromptTuning, tasks=(task,), start=before)
        before = plan.train("model", Full, tasks=(task,), prompts=(prompt,), start=before)
        stages += [prompt, before]
    return stages

"""ProMoT: prompt tuning, then model tuning behind the frozen prompt."""

from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.plan import Fields
from holdfast.stages.stage import Stage


def promot(fields: Fields) -> list[Stage]:
    """A soft prompt takes up the task's format, then all weights train behind it; the prompt comes off for everything else.

    Several targets have a prompt each, trained one by one; then the model trains on all of them, each row behind its own prompt.

    Source: Wang et al. 2024, "Two-stage LLM fine-tuning with less specialization and more generalization" (ICLR), section 4
    """
    prompts = fields.each("prompt", PromptTuning)
    return [*prompts, fields.train("model", Full, prompts=prompts)]

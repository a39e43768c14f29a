"""ProMoT: prompt tuning, then model tuning behind the frozen prompt."""

from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.stages.base import Stage
from holdfast.stages.fields import Fields


def promot(fields: Fields) -> list[Stage]:
    """A soft prompt takes up the task's format, then all weights train behind it; the prompt comes off for everything else.

    Source: Wang et al. 2024, "Two-stage LLM fine-tuning with less specialization and more generalization" (ICLR), section 4
    """
    prompt = fields.train("prompt", PromptTuning)
    return [prompt, fields.train("model", Full, prompt=prompt)]

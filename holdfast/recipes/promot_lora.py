"""ProMoT with LoRA as its second stage."""

from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.plan import Fields
from holdfast.stages.stage import Stage


def promot_lora(fields: Fields) -> list[Stage]:
    """ProMoT whose second stage trains a LoRA behind the frozen prompt; prompt removed, the LoRA merges into a plain model.

    Source: Wang et al. 2024 (ICLR), section 4, with stage 2 after Hu et al. 2022 (ICLR)
    """
    prompts = fields.each("prompt", PromptTuning)
    return [*prompts, fields.train("model", Lora, prompts=prompts)]

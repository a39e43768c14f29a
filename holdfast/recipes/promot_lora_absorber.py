"""ProMoT with a LoRA in place of the soft prompt."""

from holdfast.methods.full import Full
from holdfast.methods.lora_absorber import LoraAbsorber
from holdfast.recipes.plan import Fields
from holdfast.stages.stage import Stage


def promot_lora_absorber(fields: Fields) -> list[Stage]:
    """ProMoT's ablation: a LoRA is trained first; the weights train with it attached and frozen; then it comes off.

    The paper has rank 2 and 4 (`--set prompt.rank=2`) and finds it much worse than a soft prompt. Several targets have a LoRA each.

    Source: Wang et al. 2024 (ICLR), appendix C.7, table 15
    """
    prompts = fields.each("prompt", LoraAbsorber)
    return [*prompts, fields.train("model", Full, prompts=prompts)]

"""ProMoT with several absorbers at once."""

from holdfast.methods.full import Full
from holdfast.methods.joined_absorber import JoinedAbsorber
from holdfast.recipes.plan import Fields
from holdfast.stages.stage import Stage


def promot_joined(fields: Fields) -> list[Stage]:
    """ProMoT whose first stage trains a soft prompt and a LoRA together (or with a deep prefix), and takes both off again.

    `--set prompt.length=16 --set prompt.rank=4 --set prompt.deep=0` are the sizes; 0 leaves one out. Several targets have each their own.

    Source: Wang et al. 2024 (ICLR), section 4, with other absorbers in stage 1
    """
    prompts = fields.each("prompt", JoinedAbsorber)
    return [*prompts, fields.train("model", Full, prompts=prompts)]

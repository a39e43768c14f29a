"""ProMoT with a deep prefix in place of the soft prompt."""

from holdfast.methods.full import Full
from holdfast.methods.prefix_tuning import PrefixTuning
from holdfast.recipes.plan import Fields
from holdfast.stages.stage import Stage


def promot_deep(fields: Fields) -> list[Stage]:
    """ProMoT whose first stage trains a deep prefix: far more capacity to take up the task, as removable, and nothing to compute.

    `--set prompt.hidden=256` trains it through a network. Several targets have a prefix each.

    Source: Wang et al. 2024 (ICLR), section 4, with stage 1 after Li and Liang 2021 (ACL)
    """
    prompts = fields.each("prompt", PrefixTuning)
    return [*prompts, fields.train("model", Full, prompts=prompts)]

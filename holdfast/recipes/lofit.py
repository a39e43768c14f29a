"""LoFiT: a few attention heads are found and get a vector each; alone, and as ProMoT's second stage."""

from holdfast.methods.head_bias import HeadBias
from holdfast.methods.head_scale import HeadScale
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train


def two_phases(plan: RecipePlan, prompts: tuple[Train, ...] = ()) -> list[Stage]:
    """Learn a scale of every head's output, then from the start again vectors for the strongest heads alone."""
    heads = plan.train("heads", HeadScale, prompts=prompts)
    return [heads, plan.train("model", HeadBias, prompts=prompts, stages={"heads": heads})]


@recipe
def lofit(plan: RecipePlan) -> list[Stage]:
    """A scale is learned for each attention head to find those that the task needs; then vectors are added to these heads' outputs.

    Every weight of the model stays; the vectors become biases. `--set model.share=0.03` is the share of heads; `heads.*` sets the first
    phase, `model.*` the second. Demonstrations (`--set heads.demonstrations=2 --set model.demonstrations=2`) make it FTICL.

    Source: Yin et al. 2024, "LoFiT: localized fine-tuning on LLM representations" (NeurIPS)
    """
    return two_phases(plan)


@recipe
def promot_lofit(plan: RecipePlan) -> list[Stage]:
    """ProMoT whose second stage is LoFiT: heads are found, and their vectors trained, behind the frozen prompt.

    Source: Wang et al. 2024 (ICLR), section 4, with stage 2 after Yin et al. 2024 (NeurIPS)
    """
    prompts = plan.each("prompt", PromptTuning)
    return [*prompts, *two_phases(plan, prompts)]

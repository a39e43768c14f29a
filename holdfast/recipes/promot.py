"""ProMoT: an absorber takes up the task's format, then the model trains behind it. The variants differ in absorber and tuner."""

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.joined_absorber import JoinedAbsorber
from holdfast.methods.lora import Lora
from holdfast.methods.lora_absorber import LoraAbsorber
from holdfast.methods.prefix_tuning import PrefixTuning
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage


def two_stages(plan: RecipePlan, absorber: type[Method], tuner: type[Method]) -> list[Stage]:
    """Train an absorber for each target, one by one; then the tuner on all targets, each row behind its own frozen absorber."""
    # A stage for each target, and not one on all: each task has a format of its own to take up.
    absorbers = plan.each("prompt", absorber)
    return [*absorbers, plan.train("model", tuner, prompts=absorbers)]


@recipe
def promot(plan: RecipePlan) -> list[Stage]:
    """A soft prompt takes up the task's format, then all weights train behind it; the prompt comes off for everything else.

    Several targets have a prompt each, trained one by one; then the model trains on all of them, each row behind its own prompt.

    Source: Wang et al. 2024, "Two-stage LLM fine-tuning with less specialization and more generalization" (ICLR), section 4
    """
    return two_stages(plan, PromptTuning, Full)


@recipe
def promot_deep(plan: RecipePlan) -> list[Stage]:
    """ProMoT whose first stage trains a deep prefix: far more capacity to take up the task, as removable, and nothing to compute.

    `--set prompt.hidden=256` trains it through a network. Several targets have a prefix each.

    Source: Wang et al. 2024 (ICLR), section 4, with stage 1 after Li and Liang 2021 (ACL)
    """
    return two_stages(plan, PrefixTuning, Full)


@recipe
def promot_joined(plan: RecipePlan) -> list[Stage]:
    """ProMoT whose first stage trains a soft prompt and a LoRA together (or with a deep prefix), and takes both off again.

    `--set prompt.length=16 --set prompt.rank=4 --set prompt.deep=0` are the sizes; 0 leaves one out. Several targets have each their own.

    Source: Wang et al. 2024 (ICLR), section 4, with other absorbers in stage 1
    """
    return two_stages(plan, JoinedAbsorber, Full)


@recipe
def promot_lora_absorber(plan: RecipePlan) -> list[Stage]:
    """ProMoT's ablation: a LoRA is trained first; the weights train with it attached and frozen; then it comes off.

    The paper has rank 2 and 4 (`--set prompt.rank=2`) and finds it much worse than a soft prompt. Several targets have a LoRA each.

    Source: Wang et al. 2024 (ICLR), appendix C.7, table 15
    """
    return two_stages(plan, LoraAbsorber, Full)


@recipe
def promot_lora(plan: RecipePlan) -> list[Stage]:
    """ProMoT whose second stage trains a LoRA behind the frozen prompt; prompt removed, the LoRA merges into a plain model.

    Source: Wang et al. 2024 (ICLR), section 4, with stage 2 after Hu et al. 2022 (ICLR)
    """
    return two_stages(plan, PromptTuning, Lora)

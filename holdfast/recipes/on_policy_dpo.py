"""On-policy preferences: sample, score, pair and step, in rounds."""

from holdfast.curation.own_pairs import OwnPairs
from holdfast.methods.dpo import Dpo
from holdfast.methods.full import Full
from holdfast.recipes._on_policy import curated_anew
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train

ROUNDS = 3


@recipe
def on_policy_dpo(plan: RecipePlan) -> list[Stage]:
    """DPO on the best and the worst of the model's own answers, three times: each round draws and rewards new answers by the model so far.

    `--curate own_pairs --set curate.reward=...` says what is rewarded; `model.*` sets every round alike, its reference the round's own
    start. Every round is measured, on the target and on the general tasks. Use it where right answers are unlikely at first, and an answer
    can be checked; `--curate own_pairs --method full+dpo` is one round. It costs `samples` answers to each training example a round.

    Source: Tajwar et al. 2024, "Preference fine-tuning of LLMs should leverage suboptimal, on-policy data" (ICML)
    """
    stages: list[Stage] = []
    before: Train | None = None
    for number in range(ROUNDS):
        pairs = curated_anew(plan, OwnPairs(), number, before)
        before = plan.train("model", Full, Dpo, tasks=pairs, start=before)
        stages.append(before)
    return stages

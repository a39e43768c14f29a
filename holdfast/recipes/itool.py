"""iTool: preferences at the branches of the model's own hard answers, in rounds."""

from holdfast.curation.branch_pairs import BranchPairs
from holdfast.methods.full import Full
from holdfast.methods.simpo import Simpo
from holdfast.recipes._on_policy import curated_anew
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.stage import Stage
from holdfast.stages.train import Train

ROUNDS = 3


@recipe
def itool(plan: RecipePlan) -> list[Stage]:
    """Find what the model is least sure of, pair its answers there where they branch, and prefer the better: three times.

    Each round selects, draws and pairs by the model so far (`--curate branch_pairs --set curate.reward=tool_call`) and trains SimPO on
    it; every round is measured. The values are those of the released script, but for `curate.least`, whose scale is another judge's; it
    has one round: `--curate branch_pairs --method full+simpo`. Train on the answers first, for a model that never finds a good call
    (`--method full`, then `holdfast tune RUN/model`): the paper's warm-up from easy to hard is in no code of its authors, and not here.
    A round costs `samples` answers a level to each selected question, and a forward of every training example.

    Source: Zeng et al. 2025, "iTool: reinforced fine-tuning with dynamic deficiency calibration for advanced tool use" (EMNLP)
    """
    stages: list[Stage] = []
    before: Train | None = None
    for number in range(ROUNDS):
        pairs = curated_anew(plan, BranchPairs(), number, before)
        before = plan.train("model", Full, Simpo, tasks=pairs, start=before, beta=2.5, gamma=0.5)
        stages.append(before)
    return stages

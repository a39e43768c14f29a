"""PCP: prompt-based continued pre-training."""

from dataclasses import replace

from holdfast.curation.pseudo_labels import PseudoLabels
from holdfast.methods.full import Full
from holdfast.recipes.base import recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.curate import Curate
from holdfast.stages.stage import Stage


@recipe
def pcp(plan: RecipePlan) -> list[Stage]:
    """Train on the labels, label every question by that model, go on with the language modelling of these texts, train on the labels.

    The texts are trained from the model's own weights, as in the paper. `--set labels.train_limit=32 --set model.train_limit=32` leaves
    the other examples as questions without labels; `--curate pseudo_labels` sets what is labelled, and how surely.

    Source: Shi and Lipani 2023, "Don't stop pretraining? Make prompt-based fine-tuning powerful learner" (NeurIPS)
    """
    first = plan.train("labels", Full, tasks=plan.targets)
    curated = [replace(task, start=first) for task in plan.tasks if isinstance(task, Curate)]
    texts = plan.train("texts", Full, tasks=tuple(curated) or plan.curated(PseudoLabels(), first))
    return [first, texts, plan.train("model", Full, tasks=plan.targets, start=texts)]

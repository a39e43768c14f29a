"""Membership of rows in the training data, as the likelihoods give it away: high where rows are known by heart."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from scipy import stats

from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.prefix.model import PrefixModel
from holdfast.results.measure_panel import MeasurePanel
from holdfast.row import Row

AT_ONCE = 8  # rows of a forward

PANELS = (
    MeasurePanel(
        ("memorised",),
        "Training rows told from unseen ones, AUC",
        "Probability that a training row has gained more likelihood than a row of the test split: 0.5 where training rows cannot be told, "
        "1 where all can. With 64 rows of either, chance alone reaches 0.6.",
        line="where",
        zero=0.5,
    ),
    MeasurePanel(
        ("loss_trained", "loss_unseen"),
        "Loss of training rows and of unseen ones, nats a token",
        "Where training rows go on falling and unseen ones rise, what is learned is the rows themselves.",
        line="where",
        zero=None,
    ),
)


@analysis
def memorised(subject: Subject) -> list[Finding]:
    """Probability that a training row has gained more likelihood than an unseen one (AUC), and the mean loss of either.

    A row's gain is its mean loss a token under the base minus that under the tuned model, so that texts that are easy in themselves do not
    count. At 0.5 nobody can tell by it what was trained on; near 1 the rows are known by heart, and may come out word for word: fewer
    passes, a smaller rate or more data help, and so does leaving out what is private. With 64 rows of either, chance alone reaches
    0.6. Costs a forward of both models on each of these rows.

    Raises:
        ValueError: there are no training rows, or no test split to compare them with.

    Source: a membership attack by loss with the base as the reference: Watson et al. 2022, "On the importance of difficulty calibration
        in membership inference attacks" (ICLR)
    """
    if not subject.rows or not subject.unseen:
        raise ValueError(
            "memorised needs the rows of training and a test split; ask for it in `holdfast tune` or `study`, on a target with test.jsonl"
        )
    base, gains, losses = PrefixModel(subject.base.model), [], []
    for rows in map(_predictable, (subject.rows, subject.unseen)):
        losses.append(_losses(subject.model, rows))
        gains.append(_losses(base, [replace(row, prompt=None) for row in rows]) - losses[-1])
    # The Mann-Whitney statistic is the number of pairs in which the training row is ahead, ties by half.
    ahead = float(stats.mannwhitneyu(*(gain.numpy() for gain in gains)).statistic)
    return [
        Finding("memorised", "training rows", ahead / math.prod(map(len, gains))),
        Finding("loss_trained", "training rows", float(losses[0].mean())),
        Finding("loss_unseen", "unseen rows", float(losses[1].mean())),
    ]


def _losses(model: PrefixModel, rows: Sequence[Row]) -> torch.Tensor:
    """Return the mean loss a token of each row, float64 `[rows]`."""
    training = model.training
    model.eval()
    losses = []
    with torch.no_grad():
        for start in range(0, len(rows), AT_ONCE):
            output = model(rows[start : start + AT_ONCE])
            tokens = F.cross_entropy(output.logits.float(), output.labels, reduction="none").double().cpu()
            owners = output.row.cpu()
            losses.append(owners.bincount(tokens) / owners.bincount())
    model.train(training)
    return torch.cat(losses)


def _predictable(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without a weight on their first token, which the base could not predict from nothing."""
    rows = [replace(row, weights=(0.0, *row.weights[1:])) for row in rows]
    return [row for row in rows if row.labels]

"""Distance that each layer has moved, and number of directions in which it has."""

import torch
from torch import Tensor

from holdfast.analysis._computed_weights import computed_weights
from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import OUTSIDE, MeasurePanel
from holdfast.weights.layout import locate

PANELS = (
    MeasurePanel(
        ("relative_norm",),
        "Weight drift, % of the base’s norm",
        "Size of the change of each block over the size of the block; outside: embeddings and head.",
        scale=100.0,
    ),
    MeasurePanel(
        ("effective_rank",),
        "Effective rank of the change",
        "In how many directions a block’s matrices have moved.",
        zero=None,
    ),
)


@analysis
def weight_drift(subject: Subject) -> list[Finding]:
    """Of delta = tuned - base, for each block (and `embeddings and head`): mean |delta|, its norm over the base's, and its effective rank.

    The effective rank of a matrix is exp(entropy of its singular values, normed to sum 1): 1 where all of the change is one direction,
    the smaller dimension where it is spread evenly. A block's is the mean of its matrices that moved.

    Source: effective rank: Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality" (EUSIPCO), eq. 4
    """
    old = computed_weights(subject.base.model)
    groups: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, tuned in computed_weights(subject.pretrained.model).items():
        base = old.get(name)
        # A head that was added, or embeddings for new tokens, have nothing to be compared with.
        if base is not None and base.shape == tuned.shape:
            pair = (tuned.detach().double(), base.detach().double().to(tuned.device))
            groups.setdefault(_group(name), []).append(pair)
    findings = []
    for where, pairs in groups.items():
        deltas = [tuned - base for tuned, base in pairs]
        moved = sum(float(delta.abs().sum()) for delta in deltas) / sum(delta.numel() for delta in deltas)
        size = sum(float(base.square().sum()) for _, base in pairs) ** 0.5
        change = sum(float(delta.square().sum()) for delta in deltas) ** 0.5
        findings += [Finding("mean_abs", where, moved), Finding("relative_norm", where, change / size if size else 0.0)]
        # Of a matrix of zeros every singular value is 0, and shares of their sum do not exist.
        spectra = [effective_rank(delta) for delta in deltas if delta.ndim == 2 and delta.any()]
        if spectra:
            findings.append(Finding("effective_rank", where, sum(spectra) / len(spectra)))
    return findings


def effective_rank(matrix: Tensor) -> float:
    """Return exp of the entropy of a matrix's singular values, normed to sum 1: from 1 to its smaller dimension."""
    values = torch.linalg.svdvals(matrix)
    # 0 log 0 is 0 in an entropy, and NaN in floating point.
    shares = values[values > 0] / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def _group(name: str) -> str:
    inside = locate(name)
    return OUTSIDE if inside is None else f"{inside[0].rpartition('.')[2]}.{inside[1]}"

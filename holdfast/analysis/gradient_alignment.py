"""Is what the model learns at a step the format, or the task?"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.prefix.model import PrefixModel
from holdfast.results.measure_panel import MeasurePanel
from holdfast.row import Row
from holdfast.weights.layout import locate

PANELS = (
    MeasurePanel(
        ("cosine",),
        "Gradient alignment, cosine",
        "Gradient on a batch against that on the same inputs with the answers of others: near 1 a step teaches the "
        "format, near 0 the task. Line: mean over a block’s matrices; band: the lowest and the highest.",
    ),
)


@analysis
def gradient_alignment(subject: Subject) -> list[Finding]:
    """Cosine between the gradient on a batch and that on the same inputs with other examples' answers, for each matrix of each block.

    With the answers shuffled, the format is still right and the meaning is gone. So near 1 a step teaches the format, and near 0 the
    task. Both gradients are taken at the same weights, those of training on the true answers, without dropout. Documents answer nothing
    that could be shuffled: of them nothing is found.

    Raises:
        ValueError: there are no training rows to take gradients on.

    Source: Wang et al. 2024 (ICLR), section 3.2 and figure 3, there for the last decoder layer
    """
    if not subject.rows:
        raise ValueError("gradient_alignment needs the rows of training; ask for it in `holdfast tune` or `study`")
    if not subject.shuffled:
        return []
    true, other = (_gradient(subject.model, rows) for rows in (subject.rows, subject.shuffled))
    return [
        Finding("cosine", name, float(F.cosine_similarity(true[name], other[name], dim=0)))
        for name in true
        # A gradient of zeros has no direction; a cosine of 0 would read as "the task".
        if true[name].any() and other[name].any()
    ]


def _gradient(model: PrefixModel, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Return the gradient of the mean loss of `rows` to each matrix inside a block, flat, in float64."""
    # Without embeddings and head, whose gradients say which tokens occur and not what is learned of them.
    matrices = {n: p for n, p in model.model.named_parameters() if p.ndim > 1 and locate(n) is not None}
    # Training may have frozen some of them (LoRA, a soft prompt); the question is the same for every method.
    before = {name: parameter.requires_grad for name, parameter in matrices.items()}
    model.eval()
    for parameter in matrices.values():
        parameter.requires_grad_(True)
    try:
        output = model(rows)
        losses = F.cross_entropy(output.logits.float(), output.labels, reduction="none")
        loss = (losses * output.weights).sum() / output.weights.sum()
        # `grad` and not `backward`: nothing is left in `.grad`, where the next training step would add to it.
        gradients = torch.autograd.grad(loss, list(matrices.values()), allow_unused=True)
    finally:
        for name, parameter in matrices.items():
            parameter.requires_grad_(before[name])
    # In float64: millions of products are summed to a cosine.
    return {name: g.detach().flatten().double() for name, g in zip(matrices, gradients, strict=True) if g is not None}

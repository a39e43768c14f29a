"""Distance between the hidden states of the base and of the tuned model, layer by layer."""

import torch
from torch import Tensor

from holdfast.analysis.base import Finding, Subject, analysis
from holdfast.results.measure_panel import MeasurePanel

FOLDS, TOKENS = 5, 4096

PANELS = (
    MeasurePanel(
        ("cka",),
        "Likeness of hidden states to the base’s, CKA",
        "1 where the states after a block are the base’s up to rotation and scale; outside: the embeddings.",
        zero=None,
    ),
    MeasurePanel(
        ("predictivity",),
        "Hidden states, share predicted linearly from the base’s",
        "Share of the variance that a ridge regression explains on held-out rows: what was only recoded is still "
        "there.",
        zero=None,
    ),
)


@analysis
def representation_drift(subject: Subject) -> list[Finding]:
    """Likeness of the hidden states of the base and the tuned model after each block: linear CKA, and how well one predicts the other.

    On the tokens of the training rows, without any prompt. `cka` is 1 where the states are equal up to rotation and scale; `predictivity`
    is the share of the tuned states' variance that a ridge regression from the base's states explains on held-out rows (five folds; below
    0 where it explains less than the mean does): what was only recoded linearly is still there. Weights can move far without moving
    states, and the other way round. Costs a forward of both models, and a decomposition of [tokens, width] for each block.

    Raises:
        ValueError: there are no training rows, or fewer than ten.

    Source: CKA: Kornblith et al. 2019, "Similarity of neural network representations revisited" (ICML), eq. 5; predictivity between
        layers as in Aw et al. 2024, "Instruction-tuning aligns LLMs to the human brain" (COLM), there towards brain data
    """
    if len(subject.rows) < 2 * FOLDS:
        raise ValueError(
            "representation_drift needs ten rows of training or more; ask for it in `holdfast tune` or `study`"
        )
    before, after, fold = [], [], []
    for number, row in enumerate(subject.rows):
        if len(fold) < TOKENS:
            before.append(_states(subject.base.model, row.tokens))
            after.append(_states(subject.model.model, row.tokens))
            fold += [number % FOLDS] * len(row.tokens)
    folds, findings = torch.tensor(fold), []
    for layer in range(before[0].shape[0]):
        # The first is what the embeddings give; blocks are numbered from 0, as in the names of weights.
        where = "embeddings" if layer == 0 else f"layers.{layer - 1}"
        base, tuned = (torch.cat([states[layer] for states in model]) for model in (before, after))
        findings += [
            Finding("cka", where, cka(base, tuned)),
            Finding("predictivity", where, predictivity(base, tuned, folds)),
        ]
    return findings


def _states(model: torch.nn.Module, tokens: tuple[int, ...]) -> Tensor:
    """Return the states [layers + 1, T, D] of one row, in float64."""
    training = model.training
    model.eval()
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor([tokens], device=next(model.parameters()).device), output_hidden_states=True
        )
    model.train(training)
    states = output.hidden_states if output.get("hidden_states") is not None else output.decoder_hidden_states
    return torch.stack(states)[:, 0].double().cpu()


def cka(first: Tensor, second: Tensor) -> float:
    """Return linear CKA of states [n, D] and [n, E]: |X'Y|^2 / (|X'X| |Y'Y|), of centred columns; 0 where either is constant."""
    first, second = first - first.mean(0), second - second.mean(0)
    sizes = (first.T @ first).norm() * (second.T @ second).norm()
    return float((first.T @ second).square().sum() / sizes) if sizes > 0 else 0.0


def predictivity(first: Tensor, second: Tensor, folds: Tensor, ridge: float = 1e-3) -> float:
    """Return the share of the variance of `second` that a ridge regression from `first` explains on the fold it did not see.

    `ridge` is relative to the mean variance of a column of `first`.
    """
    missed, spread = 0.0, 0.0
    for fold in folds.unique():
        seen, held = folds != fold, folds == fold
        centre, target = first[seen].mean(0), second[seen].mean(0)
        x, y = first[seen] - centre, second[seen] - target
        penalty = ridge * x.square().sum() / x.shape[1]
        weights = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)
        missed += float((second[held] - target - (first[held] - centre) @ weights).square().sum())
        spread += float((second[held] - target).square().sum())
    return 1 - missed / spread if spread else 0.0

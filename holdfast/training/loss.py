"""The loss at label positions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def token_loss(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Weighted sum of cross entropies: `[N, V]` logits, `[N]` labels, `[N]` weights -> a scalar, in float32.

    A sum, not a mean: the mean of a step is over all its tokens, however they were split into forwards and processes.
    With `smoothing` s the target is (1 - s) on the label and s / V everywhere (Szegedy et al. 2016).
    """
    losses = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
    return torch.dot(losses, weights.to(losses.dtype))

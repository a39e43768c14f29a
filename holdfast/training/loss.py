"""The loss at label positions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def token_loss(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the weighted sum of cross entropies in nats: `[N, V]` logits, `[N]` labels, `[N]` weights -> a scalar, in float32.

    With `smoothing` s the target is (1 - s) on the label and s / V everywhere (Szegedy et al. 2016).
    """
    # A sum, not a mean: the mean of a step is over all its tokens, however they were split into forwards and processes.
    losses = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
    return torch.dot(losses, weights.to(losses.dtype))

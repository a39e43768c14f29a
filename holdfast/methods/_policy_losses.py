"""The numbers of GRPO: advantages of answers to one question, and the loss of their tokens.

Source: Shao et al. 2024, "DeepSeekMath" (arXiv 2402.03300), equations 3 and 4; the scales after TRL 1.16
"""

from torch import Tensor

EPSILON = 1e-4  # Beside the standard deviation of a group, as TRL has it.


def advantages(rewards: Tensor, scale: str) -> Tensor:
    """Return rewards `[questions, samples]` minus their question's mean, over the standard deviation by `scale`, in the same shape."""
    gained = rewards - rewards.mean(-1, keepdim=True)
    if scale == "none":
        return gained
    return gained / ((rewards.std() if scale == "batch" else rewards.std(-1, keepdim=True)) + EPSILON)


def anchor(log_p: Tensor, start: Tensor) -> Tensor:
    """Return the estimate of KL(model | start) at each token of the model's own answers, never below 0: `[N]` twice -> `[N]`."""
    return (start - log_p).exp() - (start - log_p) - 1


def token_losses(log_p: Tensor, gained: Tensor, start: Tensor | None, beta: float) -> Tensor:
    """Return the loss of each token, all `[N]`: log p by the model and by its start, and the advantage of the token's answer."""
    # The ratio is 1, and its gradient that of log p: the answers are the model's of this very step.
    losses = -(log_p - log_p.detach()).exp() * gained
    return losses if start is None else losses + beta * anchor(log_p, start)

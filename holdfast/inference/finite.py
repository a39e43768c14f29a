"""A model whose predictions are not numbers is refused: the likeliest of NaNs would be an answer like any other."""

from torch import Tensor


def check_numbers(predicted: Tensor) -> None:
    """Refuse predictions (logits or log-probabilities, of any shape) with a NaN among them; minus infinity is a number here.

    Raises:
        ValueError: there is one.
    """
    if bool(predicted.isnan().any()):
        raise ValueError(
            "the model's predictions are not numbers (NaN), so nothing that it says can be marked: its weights are damaged, or its "
            "arithmetic overflows; train again with a smaller learning rate, or load an undamaged copy"
        )

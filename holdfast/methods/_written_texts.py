"""Texts that a model writes by itself: the engine of the methods that need no data of anybody."""

from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling

AT_ONCE = 8192  # Tokens of texts that are sampled side by side.


def continuations(model: LanguageModel, opening: str, count: int, new: int, seed: int) -> list[str]:
    """Return so many continuations of one text, drawn at temperature 1, each of `new` tokens at most.

    An empty opening is the beginning of a text.
    """
    texts: list[str] = []
    # Sample j is drawn by the seed + j, so that the size of these parts changes no text.
    size = max(1, AT_ONCE // new)
    for begin in range(0, count, size):
        many = min(size, count - begin)
        texts += model.generate([opening], Sampling(new, temperature=1.0, seed=seed + begin, samples=many))
    return texts

"""Find where two models' answers part, and the probabilities there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling

LIKELIEST = 4  # tokens of each model that are shown where two answers part


@dataclass(frozen=True, slots=True)
class Choice:
    """A token with its probability in both models; None where the other's vocabulary has no such token."""

    token: str
    base: float | None
    other: float | None


@dataclass(frozen=True, slots=True)
class Parting:
    """The place where an answer leaves the base's: the text that both share up to there, and what either would write next."""

    shared: str
    choices: tuple[Choice, ...]


def part(
    prompt: str, base: Model, base_tokens: Sequence[int], other: Model, tokens: Sequence[int], sampling: Sampling
) -> Parting | None:
    """Return where two answers to one prompt part, given as the token ids that each model wrote; None where they say the same.

    It is the last place at which both texts are equal and a token of each begins, so that models with other tokenizers can be compared.
    """
    ends_of_base, ends = _ends(base, base_tokens), _ends(other, tokens)
    common = max(ends_of_base.keys() & ends.keys(), key=len)
    # The longest common beginning is all of both.
    if len(common) == max(map(len, ends_of_base)) == max(map(len, ends)):
        return None
    room = sampling.max_new_tokens
    shares = [
        model.next_shares(prompt, written[: where[common]], room)
        for model, written, where in ((base, base_tokens, ends_of_base), (other, tokens, ends))
    ]
    choices = {c.token: c for c in _choices(base, shares[0], other, shares[1])}
    for choice in _choices(other, shares[1], base, shares[0]):
        choices.setdefault(choice.token, Choice(choice.token, choice.other, choice.base))
    likely = sorted(choices.values(), key=lambda c: max(c.base or 0.0, c.other or 0.0), reverse=True)
    return Parting(common, tuple(likely))


def _ends(model: Model, tokens: Sequence[int]) -> dict[str, int]:
    """Return, for each text that a token of an answer ends, the number of tokens up to there."""
    tokenizer = model.pretrained.tokenizer
    texts: dict[str, int] = {}
    for count in range(len(tokens) + 1):
        text = tokenizer.decode(list(tokens[:count]), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        # Half of a character is none yet; and a token without text does not move the place.
        if not text.endswith("\ufffd"):
            texts.setdefault(text, count)
    return texts


def _choices(model: Model, shares: torch.Tensor, other: Model, of_other: torch.Tensor) -> list[Choice]:
    """Return a model's likeliest tokens, each with the probability that the other gives it."""
    best = torch.topk(shares, min(LIKELIEST, len(shares)))
    tokenizer, vocabulary = model.pretrained.tokenizer, other.pretrained.tokenizer.get_vocab()
    choices: list[Choice] = []
    for index, share in zip(best.indices.tolist(), best.values.tolist(), strict=True):
        # By its name in the vocabulary: a decoded token may have lost a space.
        same = vocabulary.get(tokenizer.convert_ids_to_tokens(index))
        choices.append(Choice(tokenizer.decode([index]), share, None if same is None else float(of_other[same])))
    return choices

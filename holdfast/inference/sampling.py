"""Choose the next token from logits: the likeliest, or one drawn at a temperature among those that top-k and top-p leave."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.inference.finite import check_numbers


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settings of a continuation; the default is greedy.

    Attributes:
        max_new_tokens: The most tokens of a continuation, at least 1.
        stop: A continuation ends before the first of these strings.
        num_beams: More than 1 is beam search.
        temperature: 0 takes the likeliest token; otherwise one is drawn from softmax(logits / temperature).
        top_k: Draw among so many of the likeliest tokens; 0 is all of them.
        top_p: Draw among the likeliest tokens that together have at least this probability; 1 is all of them (Holtzman et al. 2020,
            arXiv:1904.09751). It applies to what `top_k` leaves.
        seed: Sample j of a text is drawn by `seed` + j and the text alone, so neither the batch nor the order changes it.
        samples: Continuations of each text. Its tokens run through the model once for all of them.

    Raises:
        ValueError: a field is out of its range, or two contradict each other.
    """

    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    num_beams: int = 1
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    samples: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise ValueError(f"stop={self.stop!r}: give several strings, such as stop=({self.stop!r},)")
        for name, least in (("max_new_tokens", 1), ("num_beams", 1), ("samples", 1), ("top_k", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: it must be {least} or more")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}: it must be 0 (greedy) or a positive number")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: it must lie above 0, and 1 is the most")
        if self.draws and self.num_beams > 1:
            raise ValueError("beam search draws nothing; leave temperature or num_beams out")
        if not self.draws and (self.samples > 1 or self.top_k or self.top_p < 1):
            raise ValueError(
                "samples, top_k and top_p need a temperature above 0; without one the likeliest token is taken each time"
            )

    @property
    def draws(self) -> bool:
        """True where tokens are drawn at random."""
        return self.temperature > 0

    @property
    def width(self) -> int:
        """Rows that one text takes in a batch: its beams, or its samples."""
        return max(self.num_beams, self.samples)


GREEDY = Sampling()


class Sampler:
    """Draws tokens for rows; each row has a generator of its own."""

    def __init__(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> None:
        self.sampling = sampling
        # A generator for each sample of each prompt, side by side, seeded by what was asked and never by where it stands.
        numbers = range(sampling.seed, sampling.seed + sampling.samples)
        self.generators: list[random.Random] = []
        for tokens in prompts:
            text = ",".join(map(str, tokens))
            self.generators += [random.Random(f"{number} {text}") for number in numbers]

    def __call__(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the next tokens `[B]` for logits `[B, V]`; `rows` are the numbers of their generators."""
        drawn = [self.generators[row].random() for row in rows]
        # On mps there is no float64.
        # Inverse transform sampling with one number of the row's generator: the batch has no part in the draw.
        mass = probabilities(logits if logits.device.type != "mps" else logits.cpu(), self.sampling).cumsum(-1)
        check_numbers(mass[:, -1])
        # Scaled by the sum, which rounding leaves a little off 1, so that no token without probability is ever reached.
        wanted = torch.tensor(drawn, dtype=mass.dtype, device=mass.device)[:, None] * mass[:, -1:]
        return torch.searchsorted(mass, wanted, right=True)[:, 0].clamp(max=mass.shape[-1] - 1).to(logits.device)


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return the probabilities `[B, V]`, in float64, that tokens are drawn with; exactly 0 outside top-k and top-p."""
    # In float64, because a cumulative sum over a large vocabulary in float32 is off by more than rare tokens weigh.
    logits = logits.double() / sampling.temperature
    if sampling.top_k and sampling.top_k < logits.shape[-1]:
        best = logits.topk(sampling.top_k).indices
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best, logits.gather(-1, best))
    shares = logits.softmax(-1)
    if sampling.top_p < 1:
        ordered, index = shares.sort(stable=True, dim=-1, descending=True)
        # A token stays where those before it have not reached p: the smallest set that does.
        ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= sampling.top_p, 0.0)
        shares = torch.zeros_like(shares).scatter(-1, index, ordered)
        shares = shares / shares.sum(-1, keepdim=True)
    return shares

"""DARE: drop and rescale."""

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits._deltas import add_selected
from holdfast.edits.base import Apply, Slices, Streamed
from holdfast.weights.layout import TensorLocation


@dataclass(frozen=True)
class Dare(Streamed):
    """Drop changes at random, divide those kept (a share of `density`) by it, so that the mean stays, and add up several.

    `scale` multiplies the result. The draw depends on the seed, the tensor's name and the model's place among several.

    Source: Yu et al. 2024, "Language models are super Mario" (ICML), section 3
    """

    EXAMPLES_OFF: ClassVar = ({"density": 1.0},)
    EXAMPLES_BASE: ClassVar = ({"density": 0.0}, {"scale": 0.0})
    takes_several: ClassVar[bool] = True
    takes_16_bits: ClassVar[bool] = True

    density: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="share of the changes that is kept, by chance; the paper goes down to a hundredth",
    )
    scale: float = Field(default=1.0, allow_inf_nan=False, description="factor of the result")
    seed: int = Field(default=0, description="seed of the draw")

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        if self.density == 0:  # Nothing is kept, and there is no share to divide by.
            return lambda base, tuned: base
        # A density of 1e-40 is a share as well; what it is divided by must stay a number in float32.
        limit = torch.finfo(torch.float32).max
        weight = max(-limit, min(self.scale / self.density, limit))
        # Each model draws for itself: changes that all keep or all drop would interfere as much as before.
        seeds = [f"{self.seed} {location.name}" + (f" {model}" if model else "") for model in range(slices.models)]
        draws = [BernoulliStream(self.density, seed) for seed in seeds]

        def apply(base: Tensor, tuned: Sequence[Tensor]) -> Tensor:
            return add_selected(base, tuned, [draw(base.numel()) for draw in draws], weight)

        return apply


class BernoulliStream:
    """Independent draws that are true with a probability, in any number at a time: the n-th draw of a seed is always the same.

    A draw takes one byte of PCG64's raw stream, whose values numpy guarantees. It is true below `256 * probability`; at the
    byte that this number falls into, one in 256 draws, another stream decides with 53 bits more.
    """

    # A draw in floating point for each number takes twenty times as long.

    def __init__(self, probability: float, seed: str) -> None:
        # Not `hash`, which Python salts in every process: the same seed must draw the same everywhere.
        digest = hashlib.sha256(seed.encode()).digest()
        self.bytes, self.closer = (np.random.PCG64(int.from_bytes(half)) for half in (digest[:16], digest[16:]))
        self.whole = int(probability * 256)
        self.part = int((probability * 256 - self.whole) * 2**53)
        self.left = np.empty(0, np.uint8)

    def __call__(self, size: int) -> NDArray[np.bool_]:
        """Return the next draws: bool `[size]`."""
        words = (
            self.bytes.random_raw(-(-(size - len(self.left)) // 8)) if size > len(self.left) else np.empty(0, np.uint64)
        )
        drawn = np.concatenate([self.left, words.astype("<u8", copy=False).view(np.uint8)])
        # A copy: a view of a few bytes would hold the whole array.
        drawn, self.left = drawn[:size], drawn[size:].copy()
        result = drawn < self.whole
        if self.part:
            # For those alone and in order, so each gets the same bits whatever number of draws comes at a time.
            close = np.flatnonzero(drawn == self.whole)
            result[close] = self.closer.random_raw(len(close)) >> np.uint64(11) < self.part
        return result

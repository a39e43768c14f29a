"""DARE: drop and rescale."""

import hashlib
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.edits.base import STRICT, Apply, Slices, Streamed, choose
from holdfast.weights.layout import Place


@dataclass(frozen=True, config=STRICT)
class Dare(Streamed):
    """Changes are dropped at random; those kept (a share of `density`) are divided by it, so that the mean stays.

    `scale` multiplies the result. The draw depends on the seed and the tensor's name only.

    Source: Yu et al. 2024, "Language models are super Mario" (ICML), section 3
    """

    takes_16_bits: ClassVar[bool] = True

    density: float = Field(default=0.2, ge=0, le=1)
    scale: float = Field(default=1.0, allow_inf_nan=False)
    seed: int = 0

    def over(self, slices: Slices, place: Place) -> Apply:
        if self.density == 0:
            return lambda base, tuned: base
        coins = Coins(self.density, f"{self.seed} {place.name}")

        def apply(base: Tensor, tuned: Tensor) -> Tensor:
            return choose(coins(base.numel()), torch.lerp(base, tuned, self.scale / self.density), base)

        return apply


class Coins:
    """Independent coins that show heads with probability `share`, tossed as many at a time as one likes: the n-th coin of
    a seed is the same for all ways to ask.

    A coin takes one byte of PCG64's raw stream, whose values numpy keeps for good. It is heads below `256 * share`; at
    the byte that this number falls into, one in 256 coins, another stream decides with 53 bits more. A draw in floating
    point for each coin takes twenty times as long.
    """

    def __init__(self, share: float, seed: str) -> None:
        digest = hashlib.sha256(seed.encode()).digest()
        self.bytes, self.closer = (np.random.PCG64(int.from_bytes(half)) for half in (digest[:16], digest[16:]))
        self.whole = int(share * 256)
        self.part = int((share * 256 - self.whole) * 2**53)
        self.left = np.empty(0, np.uint8)

    def __call__(self, size: int) -> NDArray[np.bool_]:
        """The next coins: bool `[size]`."""
        words = (
            self.bytes.random_raw(-(-(size - len(self.left)) // 8)) if size > len(self.left) else np.empty(0, np.uint64)
        )
        drawn = np.concatenate([self.left, words.astype("<u8", copy=False).view(np.uint8)])
        drawn, self.left = drawn[:size], drawn[size:].copy()
        heads = drawn < self.whole
        if self.part:
            close = np.flatnonzero(drawn == self.whole)
            heads[close] = self.closer.random_raw(len(close)) >> np.uint64(11) < self.part
        return heads

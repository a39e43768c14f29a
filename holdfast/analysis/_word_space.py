"""Words in the space of a model's hidden states: the words that a direction promotes, and the words that are read along it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from holdfast.analysis._computed_weights import computed_weights
from holdfast.models.final_norm import final_norm
from holdfast.models.loading import Pretrained

INPUT_NORMS = ("input_layernorm", "ln_1", "self_attn_layer_norm")  # as transformers names them


@dataclass(frozen=True)
class WordSpace:
    """A model's weights, and its words.

    Raises:
        ValueError: the model has an encoder, whose states are not those that the head reads.
    """

    pretrained: Pretrained
    _embedded: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.pretrained.architecture.one_sequence:
            raise ValueError(
                "words of hidden states: a model with an encoder is not supported; use a decoder-only model"
            )

    @cached_property
    def modules(self) -> dict[str, Any]:
        """The model's modules by the names that the plain model has."""
        return {name: getattr(m, "base_layer", m) for name, m in self.pretrained.model.named_modules()}

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The weights that the model computes with."""
        return computed_weights(self.pretrained.model)

    def matrix(self, name: str) -> Tensor:
        """Return a layer's weight as [outputs, inputs], in float32."""
        weight = self.weights[f"{name}.weight"].detach().float().cpu()
        # GPT-2's layers hold it the other way round.
        return weight.T if isinstance(self.modules[name], Conv1D) else weight

    @torch.no_grad()
    def promoted(self, directions: Tensor) -> Tensor:
        """Return how much directions [n, D] raise each word's logit through the final norm and the head: [n, V], up to a scale each."""
        head = self.pretrained.model.get_output_embeddings().weight
        return self._normed(final_norm(self.pretrained.model), directions).to(head.device) @ head.float().T

    @torch.no_grad()
    def read(self, directions: Tensor, attention: str) -> Tensor:
        """Return the product of directions [n, D] with each word's embedding, behind the norm before an attention layer: [n, V]."""
        # Of the last layer alone: a head is asked several times, and the embeddings of all layers would fill the memory.
        if attention not in self._embedded:
            self._embedded.clear()
            block = attention.rpartition(".")[0]
            norm = next((self.modules[f"{block}.{n}"] for n in INPUT_NORMS if f"{block}.{n}" in self.modules), None)
            self._embedded[attention] = self._normed(norm, self.pretrained.model.get_input_embeddings().weight)
        embeddings = self._embedded[attention]
        return directions.to(embeddings.device) @ embeddings.T

    def top(self, scores: Tensor, count: int) -> list[int]:
        """Return the tokens with the greatest scores [V], the greatest first; special ones are left out."""
        special = set(self.pretrained.tokenizer.all_special_ids)
        # A padded vocabulary has numbers that are no token.
        size = min(len(scores), len(self.pretrained.tokenizer))
        ranked = scores[:size].topk(min(size, count + len(special))).indices.tolist()
        return [token for token in ranked if token not in special][:count]

    def words(self, tokens: Sequence[int]) -> str:
        """Return tokens as text, a space between."""
        return " ".join(repr(self.pretrained.tokenizer.decode([token]).strip())[1:-1] for token in tokens)

    @staticmethod
    def _normed(norm: Any, states: Tensor) -> Tensor:
        """Return states [n, D] of unit size behind a norm's own weight, in float32; a bias, which is the same for all, is left out."""
        states = states.float()
        states = states / states.square().mean(-1, keepdim=True).sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        if norm is None:
            return states
        weight = next(norm.parameters(), states)
        states = states.to(weight.device, weight.dtype)
        return (norm(states) - norm(-states)).float() / 2


def angle(first: Tensor, second: Tensor) -> Tensor:
    """Return the angles in degrees between vectors [..., D], 0 for equal ones and where either is 0."""
    # By the sum and the difference of unit vectors: the arc cosine loses half of the digits of small angles.
    sizes = [vector.norm(dim=-1, keepdim=True) for vector in (first, second)]
    first, second = (v / size.clamp_min(1e-300) for v, size in zip((first, second), sizes, strict=True))
    degrees = torch.rad2deg(2 * torch.atan2((first - second).norm(dim=-1), (first + second).norm(dim=-1)))
    return torch.where((sizes[0] * sizes[1]).squeeze(-1) > 0, degrees, 0.0)


def shared(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the share of tokens that are in both lists, of one length."""
    return len(set(first) & set(second)) / max(1, len(first))

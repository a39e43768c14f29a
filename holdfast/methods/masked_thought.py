"""Masked Thought: parts of the answer so far are hidden from the model that goes on with it."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods.base import Context, Method
from holdfast.row import Row


@dataclass
class MaskedThought(Method):
    """Replace tokens of the answer that the model reads, each with probability `rate`, and let it predict the true ones all the same.

    Beside a method that chooses the parameters, such as `Full`. Use it on answers of several steps (worked mathematics, chains of thought):
    the model leans less on its last tokens and more on the question. An answer of one token has nothing to hide. The probability grows
    from 0 to `rate` over the first `warmup` of the steps. Inputs and demonstrations stay as they are, and no token is added to the
    vocabulary. It costs nothing, but equal rows share less of what is computed once.

    Source: Chen et al. 2024, "Masked thought: simply masking partial reasoning steps can improve mathematical reasoning learning" (ACL)
    """

    KIND: ClassVar[str] = "MaskedThought"

    rate: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="probability that a token of the answer is hidden, at the end of the warm-up",
    )
    warmup: float = Field(
        default=0.66, ge=0, le=1, description="share of the steps over which the probability grows from 0"
    )
    by: Literal["random", "pad"] = Field(
        default="random", description="what is read instead: a random token, or the padding token"
    )
    seed: int = Field(default=0, description="seed of the draw")

    def beside(self, other: Method) -> str:
        """Refuse losses of whole answers."""
        if other.replaces_loss:
            return "the loss of the other is of whole answers as they are written, and this one hides parts of them"
        return ""

    def prepare(self, context: Context) -> None:
        """Find out which tokens may be read instead.

        Raises:
            ValueError: the tokenizer has no padding token, and `by` is pad.
        """
        self._steps = context.steps
        tokenizer = context.pretrained.tokenizer
        if self.by == "pad":
            if tokenizer.pad_token_id is None:
                raise ValueError(
                    f"masked_thought.by=pad: the tokenizer of {context.pretrained.source} has no padding token; use random"
                )
            self._instead = np.array([tokenizer.pad_token_id])
            return
        # Without special tokens: an end-of-sequence token in the middle of an answer would say that it is over.
        special = set(tokenizer.all_special_ids)
        words = min(len(tokenizer), context.model.model.get_input_embeddings().weight.shape[0])
        self._instead = np.array([token for token in range(words) if token not in special])

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows with some of the read tokens replaced; what they predict, and how it is weighted, stays."""
        random, rate = np.random.default_rng([self.seed, context.step]), self.probability(context.step)
        return [self._masked(row, rate, random) for row in rows] if rate else rows

    def probability(self, step: int) -> float:
        """Return the probability of hiding a token at a step, from 0."""
        return min(self.rate, self.rate * step / (self._steps * self.warmup + 1))

    def _masked(self, row: Row, rate: float, random: np.random.Generator) -> Row:
        labels = np.array(row.labels, dtype=np.int64)
        hidden = labels[random.random(len(labels)) < rate]
        if not len(hidden):
            return row
        tokens = np.array(row.tokens)
        tokens[hidden] = random.choice(self._instead, len(hidden))
        return replace(row, tokens=tuple(tokens.tolist()), targets=row.targets or row.tokens)

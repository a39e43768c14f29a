"""A batch of prompts of a model whose state is not keys and values: at every token each row is computed anew, as it is alone.

Slow, and right for every model. Greedy and beam search go through `holdfast.inference.transformers_generate` instead; this is for what
that cannot do: drawing with a generator for each row, and combining the logits of several models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from holdfast.prefix import reference
from holdfast.prefix.attached import Prompt
from holdfast.row import Row


@dataclass(slots=True)
class RecomputedBatch:
    """B rows: the prompt of each, and what was written behind it."""

    model: Any
    prompt: Prompt | None
    prompts: list[tuple[int, ...]]
    written: list[list[int]]

    def logits(self) -> Tensor:
        """Return the logits `[B, V]` of what follows each row."""
        rows = []
        for prompt, new in zip(self.prompts, self.written, strict=True):
            tokens = (*prompt, *new, 0)  # The last stands where the next token will, and is not looked at.
            weights = (*[0.0] * (len(tokens) - 1), 1.0)
            rows.append(Row(tokens, weights, prompt=None if self.prompt is None else 0, encoded=len(prompt)))
        return reference.label_logits(self.model, rows, () if self.prompt is None else (self.prompt,))

    def advance(self, tokens: Tensor) -> Tensor:
        """Append a token to each row `[B]`; return the logits `[B, V]` of what follows it."""
        for new, token in zip(self.written, tokens.tolist(), strict=True):
            new.append(token)
        return self.logits()

    def keep(self, order: Sequence[int]) -> None:
        """Make row i what row `order[i]` was, and drop the other rows."""
        self.prompts = [self.prompts[row] for row in order]
        self.written = [list(self.written[row]) for row in order]

    def repeat(self, times: int) -> None:
        """Make every row so many equal rows, side by side."""
        self.keep([slot // times for slot in range(len(self.prompts) * times)])

    def reorder(self, order: Tensor) -> None:
        """Let row i go on with what row `order[i]` `[B]` wrote; both continue the same prompt."""
        self.keep(order.tolist())

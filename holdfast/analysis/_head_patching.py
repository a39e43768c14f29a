"""Read the outputs of attention heads, and compute with others in their place: the engine of the patching analyses."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.models.attention_heads import projections
from holdfast.row import Row

MOST = 16  # questions of an analysis

Change = Callable[[int, Tensor], Tensor]
"""From the number of a layer and its heads' outputs [B, T, H, d], the outputs to go on with."""


@dataclass(frozen=True)
class Question:
    """The tokens before an answer, and the answer's first token."""

    tokens: tuple[int, ...]
    answer: int


def questions(rows: Sequence[Row], analysis: str) -> list[Question]:
    """Return the questions of the first rows that have one, at most `MOST`.

    Raises:
        ValueError: there are none, or all have one answer, so that nothing tells one from another.
    """
    if not rows:
        raise ValueError(f"{analysis} needs the rows of training; ask for it in `holdfast tune` or `study`")
    probes = []
    for row in rows:
        first = next(iter(row.labels), 0)
        if first:
            probes.append(Question(row.tokens[:first], (row.targets or row.tokens)[first]))
    if len({question.answer for question in probes[:MOST]}) < 2:
        raise ValueError(
            f"{analysis}: the training rows that it looks at have one answer only; train on a task with several"
        )
    return probes[:MOST]


class Heads:
    """A model whose heads are read and replaced. Its weights do not move; no soft prompt stands in front."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.places = projections(model)
        self.heads: int = model.config.get_text_config().num_attention_heads

    @property
    def names(self) -> list[str]:
        """Return the name of every head, layer by layer."""
        names = []
        for layer in self.places:
            names += [f"{layer} head {head}" for head in range(self.heads)]
        return names

    def outputs(self, tokens: Sequence[int]) -> list[Tensor]:
        """Return each layer's outputs of its heads, [T, H, d]."""
        seen: list[Tensor] = []

        def keep(layer: int, outputs: Tensor) -> Tensor:
            seen.append(outputs[0].detach())
            return outputs

        with torch.no_grad():
            self.answers(tokens, keep)
        return seen

    def answers(self, tokens: Sequence[int], change: Change | None = None, copies: int = 1) -> Tensor:
        """Return the log-probabilities of the next token, [copies, V]; `change` may give each copy of the tokens other outputs."""
        batch = torch.tensor([list(tokens)] * copies, device=self.model.device)
        with self._changed(change):
            logits = self.model(input_ids=batch, use_cache=False).logits
        return logits[:, -1].float().log_softmax(-1)

    @contextmanager
    def _changed(self, change: Change | None) -> Iterator[None]:
        handles = []
        for number, projection in enumerate(self.places.values() if change else ()):

            def hook(_: nn.Module, inputs: tuple[Tensor, ...], layer: int = number) -> tuple[Tensor, ...]:
                outputs = inputs[0].unflatten(-1, (self.heads, -1))
                assert change is not None
                return (change(layer, outputs).flatten(-2).to(inputs[0].dtype), *inputs[1:])

            handles.append(projection.register_forward_pre_hook(hook))
        training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(training)
            for handle in handles:
                handle.remove()


def aligned(outputs: Sequence[Tensor], other: Sequence[Tensor]) -> list[Tensor]:
    """Return another question's outputs in the length of this one's, [T, H, d]: from the last token back; this one's before them."""
    # The answer is predicted at the end, and questions of one task end alike.
    length = min(len(outputs[0]), len(other[0]))
    return [
        torch.cat([kept[: len(kept) - length], donor[len(donor) - length :]])
        for kept, donor in zip(outputs, other, strict=True)
    ]


def counterparts(probes: Sequence[Question]) -> list[Question]:
    """Return for each question one with another answer: the next one that has."""
    chosen = []
    for number, question in enumerate(probes):
        turned = [*probes[number + 1 :], *probes[:number]]
        chosen.append(next(other for other in turned if other.answer != question.answer))
    return chosen

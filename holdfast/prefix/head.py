"""Predictions at label positions: logits at once or, where the vocabulary is large, later and a part at a time.

N labels over a vocabulary of V make N x V logits, and a loss makes as many again, in float32. Hidden states [N, D] are all
that has to be kept for them: the loss of a part can be computed, forgotten, and computed again for its gradient (Chen et al.
2016, arXiv:1604.06174, for the one layer that is as wide as the vocabulary).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutputWithPast

from holdfast.models.architecture import architecture_of
from holdfast.prefix.attached import Prompt, as_attached
from holdfast.prefix.packed import seen_by_head
from holdfast.prefix.probe import agrees, random_tokens
from holdfast.prefix.sum_of_parts import sum_of_parts

LOGITS = 2**25  # Numbers of logits that exist at once (128 MiB in float32), as far as one label needs no more.


@dataclass(frozen=True, eq=False)
class LabelLogits:
    """Predictions at N label positions: rows as given, positions ascending.

    `states` are the logits [N, V], or, where `model` is given, the hidden states [N, D] from which its head makes them.
    """

    states: Tensor
    labels: Tensor  # [N] token ids
    weights: Tensor  # [N] float32
    row: Tensor  # [N] which of the given rows
    model: Any = None

    @cached_property
    def logits(self) -> Tensor:
        """All logits at once: [N, V]."""
        return self.made(self.states)

    def of_rows(self, keep: Sequence[bool]) -> "LabelLogits":
        """Return the predictions of the rows that are marked True, as if these alone had been given."""
        if all(keep):
            return self
        marks = torch.tensor(keep, device=self.row.device)
        chosen = marks[self.row]
        row = (marks.cumsum(0) - 1)[self.row[chosen]]
        return LabelLogits(self.states[chosen], self.labels[chosen], self.weights[chosen], row, self.model)

    def total(self, loss: Callable[..., Tensor], *beside: "LabelLogits") -> Tensor:
        """Return the sum of a loss over all labels, a scalar: `loss(logits [n, V], labels [n], weights [n])` of any n of them.

        With other models' predictions of the same labels `beside`, the loss gets their logits [n, V] too, one after another.
        Of many labels the logits of one part exist at a time, in the forward and in the backward pass; with more models, of a
        smaller part.
        """
        every, at_once = (self, *beside), self._at_once // (1 + len(beside)) or 1
        if len(self.labels) <= at_once and all(output.model is None for output in every):
            return loss(self.states, self.labels, self.weights, *(output.states for output in beside))

        def part(labels: Tensor, weights: Tensor, *states: Tensor) -> Tensor:
            logits, *others = (output.made(chunk) for output, chunk in zip(every, states, strict=True))
            return loss(logits, labels, weights, *others)

        tensors = (self.labels, self.weights, *(output.states for output in every))
        # Gradients with the values, or every part's logits would be kept for the backward pass (N x V numbers after all) or made again.
        return sum_of_parts(part, zip(*(tensor.split(at_once) for tensor in tensors), strict=True))

    @torch.no_grad()
    def each(self, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return a number for each label, [N], without gradient: `measure(logits [n, V], labels [n])` of any n of them."""
        split = (tensor.split(self._at_once) for tensor in (self.states, self.labels))
        return torch.cat([measure(self.made(states), labels) for states, labels in zip(*split, strict=True)])

    @property
    def _at_once(self) -> int:
        """The labels whose logits may exist at once."""
        return max(1, LOGITS // self.states.shape[1]) if self.model is None else labels_at_once(self.model)

    def made(self, states: Tensor) -> Tensor:
        """Return the logits [n, V] of n of the states."""
        return states if self.model is None else behind_body(self.model, states)

    def log_likelihoods(self, rows: int) -> Tensor:
        """Return the weighted log-likelihood of each row's labels: [rows], in float32. Logits are made in parts, as `total` does."""
        values = self.token_log_likelihoods()
        return values.new_zeros(rows).index_add(0, self.row, values * self.weights)

    def token_log_likelihoods(self, temperature: float = 1.0) -> Tensor:
        """Return the log-likelihood of each label at a temperature: [N], in float32. Logits are made in parts, as `total` does."""

        def each(states: Tensor, labels: Tensor) -> Tensor:
            logits = states if self.model is None else behind_body(self.model, states)
            return -F.cross_entropy(logits.float() / temperature, labels, reduction="none")

        if self.model is None:
            return each(self.states, self.labels)
        split = (tensor.split(labels_at_once(self.model)) for tensor in (self.states, self.labels))
        return torch.cat([checkpoint(each, *part, use_reentrant=False) for part in zip(*split, strict=True)])  # pyright: ignore[reportArgumentType]


def labels_at_once(model: Any) -> int:
    """Return the number of labels whose logits may exist at once."""
    return max(1, LOGITS // model.get_input_embeddings().weight.shape[0])


def separable(model: Any, prompts: Sequence[Prompt] = ()) -> bool:
    """Return True where the model's head can be run alone; tried with numbers, once for each loaded model.

    False where the model changes the states before its head sees them (T5 scales them where head and embedding are one).
    """
    head = model.get_output_embeddings()
    # A prompt's update of the head is there during the rows' forward only.
    updates = chain.from_iterable(as_attached(prompt).updates for prompt in prompts)
    if any(model.get_submodule(name) is head for name in updates):
        return False
    return agrees(model, _with_and_without_body)


def behind_body(model: Any, states: Tensor) -> Tensor:
    """Return the logits [n, V] of hidden states [n, D]: the head and whatever the model does to logits (scaling, soft-capping).

    The model's own forward, with a body that only gives the states.
    """
    with _body_gives(model, states[None]):
        return model(**architecture_of(model).head_inputs(states[None]), use_cache=False).logits[0]


class _OnlyStates(BaseModelOutputWithPast):
    """A body's output with hidden states and nothing else: whatever else a model looks for there is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


@contextmanager
def _body_gives(model: Any, states: Tensor) -> Iterator[None]:
    body = model.get_decoder()
    # The instance's attribute alone: a class's forward is not restored but uncovered again.
    override = vars(body).get("forward")
    body.forward = lambda *args, **kwargs: _OnlyStates(last_hidden_state=states)  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        if override is None:
            del body.forward
        else:
            body.forward = override


def _with_and_without_body(model: Any) -> tuple[Tensor, Tensor]:
    """Compute the probe: a few tokens through the whole model, and the states that its head saw through what follows the body."""
    tokens = torch.tensor([random_tokens(model, 4)], device=model.device)
    decoder = architecture_of(model).decoder_inputs(tokens)
    whole = model(tokens, **decoder, use_cache=False).logits[0]
    with seen_by_head(model) as seen:
        model(tokens, **decoder, use_cache=False)
    return whole, behind_body(model, seen[0])

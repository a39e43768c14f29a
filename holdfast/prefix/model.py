"""A language model behind soft prompts, as the training loop wraps it: rows in, logits at the label places out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.models import describe
from holdfast.models.architecture import architecture_of
from holdfast.prefix import encoder_decoder, packed, reference
from holdfast.prefix.attached import Prompt, as_attached, detached, in_order
from holdfast.prefix.capability import by_path, capability, long_and_alone, many_and_alone
from holdfast.prefix.head import LabelLogits, labels_at_once, separable
from holdfast.prefix.packed import MULTIPLE
from holdfast.prefix.packing import label_tensors
from holdfast.prefix.reach import reach, reach_of_depth
from holdfast.row import Row


class PrefixModel(nn.Module):
    """A transformers model and the prompts that stand in front of its rows: modules that give a `Prompt` when they are called.

    Rows are packed where the model proves able to take packed rows (see `capability`), and computed one by one where
    it is not. `budget` bounds the length of a packed row, for memory. Which parameters learn is for the caller to say. Where
    `task_context` is set, the rows of each task (`Row.task_number`) are computed by themselves, within the context that it returns for it.
    """

    def __init__(self, model: Any, prompts: Sequence[nn.Module] = (), budget: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.prompts = nn.ModuleList(prompts)
        self.budget = budget
        self.task_context: Callable[[int | None], AbstractContextManager[object]] | None = None

    def forward(self, rows: Sequence[Row]) -> LabelLogits:
        """Return predictions of every token of the rows that carries a weight; where they are many, as states before the head.

        Raises:
            ValueError: no row carries a weight, a row is longer with its prompt than the model has positions, or a row
                predicts its first token from nothing.
        """
        prompts: list[Prompt] = [prompt() for prompt in self.prompts]
        depths = self._depths(rows, [len(prompt) for prompt in prompts])
        labels, weights, row = (tensor.to(self.model.device) for tensor in label_tensors(rows))
        deep = any(as_attached(prompt).deep for prompt in prompts)
        whole = len(labels) <= labels_at_once(self.model) or not separable(self.model, prompts)
        within = self._packs_up_to(max(depths), deep)
        # Each row by its own length: one that is too long goes alone, and leaves the others packed.
        groups: list[list[int]] = []
        parts: list[Tensor] = []
        tasks = [None if self.task_context is None else row.task_number for row in rows]
        for compute, packs in ((self._packed, True), (self._alone, False)):
            for task in dict.fromkeys(tasks):
                group = [i for i, of_row in enumerate(tasks) if of_row == task and (depths[i] <= within) is packs]
                if any(rows[i].labels for i in group):
                    groups.append(group)
                    with nullcontext() if self.task_context is None else self.task_context(task):
                        parts.append(compute([rows[i] for i in group], prompts, whole))
        return LabelLogits(in_order(rows, groups, parts), labels, weights, row, None if whole else self.model)

    def _packed(self, rows: Sequence[Row], prompts: Sequence[Prompt], whole: bool) -> Tensor:
        """Compute rows side by side, in packed rows no longer than the budget and the model's reach, or behind an encoder."""
        if not architecture_of(self.model).one_sequence:
            compute = encoder_decoder.label_logits if whole else encoder_decoder.label_states
            return compute(self.model, rows, prompts)
        layers = sum(as_attached(prompt).deep for prompt in prompts)
        wanted = layers + sum(as_attached(prompt).soft for prompt in prompts) + sum(len(row.tokens) for row in rows)
        if self.budget is not None:
            wanted = min(wanted, layers + self.budget)
        places = reach(self.model, many_and_alone, wanted, layers > 0)
        budget = self.budget if places >= wanted else places // MULTIPLE * MULTIPLE - layers
        compute = packed.label_logits if whole else packed.label_states
        along = budget is None and not layers and by_path(self.model)
        return compute(self.model, rows, prompts, budget, by_path=along)

    def _alone(self, rows: Sequence[Row], prompts: Sequence[Prompt], whole: bool) -> Tensor:
        return (reference.label_logits if whole else reference.label_states)(self.model, rows, prompts)

    def number(self, prompt: nn.Module) -> int:
        """Return the number that rows name a prompt by (`Row.prompt`)."""
        return next(number for number, module in enumerate(self.prompts) if module is prompt)

    def length(self, prompt: int) -> int:
        """Return the number of positions that a prompt takes."""
        return int(self.prompts[prompt].length)  # pyright: ignore[reportArgumentType]

    def precedes(self, prompt: int) -> bool:
        """Return whether a prompt stands before the first token, as vectors do, so that this can be predicted from it; a deep prefix, whose
        keys stand beside it in every layer, does not.
        """
        return as_attached(self.attached(prompt)).soft > 0

    def attached(self, prompt: int) -> Prompt:
        """Return a prompt as it is now, without gradients."""
        with torch.no_grad():
            return detached(self.prompts[prompt]())

    def packs(self, length: int = 0, *, deep: bool = False) -> bool:
        """Return True where rows of that length, their prompt included, are packed; with `deep`, behind deep prefixes."""
        return self._packs_up_to(length, deep) >= length and capability(self.model, deep=deep).packed

    def _packs_up_to(self, length: int, deep: bool) -> int:
        """Return the longest row with its prompt, at most `length` positions, that may be packed; -1 where none may."""
        if not capability(self.model, deep=deep).packed:
            return -1
        if not architecture_of(self.model).one_sequence:
            return length  # The model's own masks are used.
        # A mask of our making replaces the model's own, sliding window included: longer rows would see too much.
        depth = reach_of_depth(self.model, long_and_alone, length, deep)
        places = reach(self.model, many_and_alone, depth, deep)  # A row's places are rounded up.
        return depth if places >= depth else places // MULTIPLE * MULTIPLE

    def _depths(self, rows: Sequence[Row], prompt_lengths: Sequence[int]) -> list[int]:
        """Return the positions of each row with its prompt, checked against what the model has."""
        architecture = architecture_of(self.model)
        before = [0 if row.prompt is None else prompt_lengths[row.prompt] for row in rows]
        needed = [architecture.row_positions(row) for row in rows]
        limit = describe.max_length(self.model)
        for row, tokens, soft in zip(rows, needed, before, strict=True):
            if tokens + soft > limit:
                raise ValueError(
                    f"row {row.name or '(unnamed)'}: {tokens} tokens behind a prompt of {soft} need {tokens + soft} "
                    f"positions, and the model has {limit}; shorten the input or the prompt"
                )
        if not any(any(row.weights) for row in rows):
            raise ValueError("no token of this batch carries a loss weight, so there is nothing to predict")
        return list(map(sum, zip(needed, before, strict=True)))

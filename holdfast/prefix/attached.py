"""Removable prompts in the form that a forward pass needs: vectors, keys and values, low-rank updates, or several of them.

A soft prompt is vectors in front of the input, which the model computes as it computes words. A deep prefix is keys and
values in every layer (Li & Liang 2021, Prefix-tuning, arXiv:2101.00190): a constant cache that nothing computes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from holdfast.row import Row

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Attached:
    """Q places of keys and values `[1, H, Q, d]` in every layer, then P vectors `[P, D]` in front of the input.

    `updates` are matrices A `[r, in]` and B `[out, r]` by the names of linear modules, which give B A x more.
    """

    vectors: Tensor | None = None
    layers: tuple[KeysValues, ...] = ()
    updates: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def soft(self) -> int:
        """P: the places that the model computes. Only behind one of them can a row's first token be predicted."""
        return 0 if self.vectors is None else len(self.vectors)

    @property
    def deep(self) -> int:
        """Q: the places that are keys and values already."""
        return self.layers[0][0].shape[-2] if self.layers else 0

    def __len__(self) -> int:
        """Return the number of positions before a row: Q + P."""
        return self.deep + self.soft


Prompt: TypeAlias = Tensor | Attached
"""What callers give: a soft prompt's vectors [P, D] alone will do."""


def as_attached(prompt: Prompt | None) -> Attached:
    """Return a prompt in the form `Attached`; None becomes an empty one."""
    return prompt if isinstance(prompt, Attached) else Attached(prompt)


def detached(prompt: Prompt) -> Prompt:
    """Return the same numbers without gradients."""
    if isinstance(prompt, Tensor):
        return prompt.detach()
    vectors = None if prompt.vectors is None else prompt.vectors.detach()
    layers = tuple((keys.detach(), values.detach()) for keys, values in prompt.layers)
    return Attached(vectors, layers, {name: (a.detach(), b.detach()) for name, (a, b) in prompt.updates.items()})


class _Fixed(DynamicLayer):
    """Keys and values `[1, H, Q, d]` before whatever comes; what comes is not kept."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> KeysValues:
        assert self.keys is not None
        assert self.values is not None
        keys, values = (
            torch.cat([start.to(new).expand(len(new), -1, -1, -1), new], -2)
            for start, new in ((self.keys, key_states), (self.values, value_states))
        )
        return keys, values


def constant(prompts: Sequence[Attached]) -> Cache:
    """Return a cache of all their keys and values, one prompt after another, for one forward of any number of rows.

    Gradients pass. Where there is one more prompt than the rows at hand have, the mask has to hide it.
    """
    deep = [prompt.layers for prompt in prompts if prompt.layers]
    # Every row's queries run over the keys of all prompts side by side: `masks.with_prefixes` lets each see those of its prompt.
    joined = [
        tuple(torch.cat([states[part] for states in layer], -2) for part in (0, 1)) for layer in zip(*deep, strict=True)
    ]
    return Cache(layers=[_Fixed(*states) for states in joined])


@contextmanager
def updated(model: Any, prompt: Attached) -> Iterator[None]:
    """Add the prompt's low-rank updates to the outputs of the model's modules, within the context."""
    if prompt.updates:
        check_not_recomputed(model)
    # Hooks, not merged weights: the weights may be frozen or tied, and merging W + BA and taking it out again rounds.
    handles = [
        model.get_submodule(name).register_forward_hook(partial(_add, *matrices))
        for name, matrices in prompt.updates.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _add(down: Tensor, up: Tensor, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    x = inputs[0]
    return output + F.linear(F.linear(x, down.to(x)), up.to(x))


def by_updates(rows: Sequence[Row], prompts: Sequence[Prompt]) -> list[tuple[Attached, list[int]]]:
    """Return groups of rows, by number, that one forward can hold, each with the prompt whose low-rank updates the model then has."""
    # A low-rank update changes the weights of a whole forward, so that one forward holds only rows with the same update.
    groups: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        updating = row.prompt is not None and as_attached(prompts[row.prompt]).updates
        groups.setdefault(row.prompt if updating else -1, []).append(number)  # pyright: ignore[reportArgumentType]
    return [(as_attached(None if owner < 0 else prompts[owner]), numbers) for owner, numbers in groups.items()]


def in_order(rows: Sequence[Row], groups: Sequence[Sequence[int]], parts: Sequence[Tensor]) -> Tensor:
    """Join what was computed for each label of groups of rows (their numbers), in the order of the rows: [N, ...]."""
    if len(parts) == 1:
        return parts[0]
    computed = list(chain.from_iterable(groups))
    owners = torch.tensor(computed).repeat_interleave(torch.tensor([len(rows[number].labels) for number in computed]))
    # A stable sort, because a row's labels have equal keys and must stay in their order.
    return torch.cat(list(parts))[owners.argsort(stable=True).to(parts[0].device)]


def recomputed(model: Any) -> bool:
    """Return True where transformers computes layers a second time in the backward pass (gradient checkpointing)."""
    return model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def check_not_recomputed(model: Any) -> None:
    """Refuse to train with a deep prefix or low-rank updates while transformers recomputes layers.

    Raises:
        ValueError: gradient checkpointing is on.
    """
    # The second forward runs in the backward pass, after the hooks are gone and without the cache: its gradients would be
    # those of the model without the prompt, and nothing would say so.
    if recomputed(model):
        raise ValueError(
            "gradient checkpointing loses a deep prefix and an attached LoRA; set gradient_checkpointing=false, or use a "
            "soft prompt"
        )

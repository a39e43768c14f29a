"""What is attached to a row and comes off again: a soft prompt, a deep prefix, low-rank updates, or several of them.

A soft prompt is vectors in front of the input, which the model computes as it computes words. A deep prefix is keys and
values in every layer (Li & Liang 2021, Prefix-tuning, arXiv:2101.00190): a constant cache that nothing computes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
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
        """The positions that are taken before a row begins: Q + P."""
        return self.deep + self.soft


Prompt: TypeAlias = Tensor | Attached
"""What callers give: a soft prompt's vectors [P, D] alone will do."""


def of(prompt: Prompt | None) -> Attached:
    """A prompt as what is attached; None is nothing."""
    return prompt if isinstance(prompt, Attached) else Attached(prompt)


def detached(prompt: Prompt) -> Prompt:
    """The same numbers without gradients."""
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
    """A cache of all their keys and values, one prompt after another, for one forward of any number of rows; gradients pass.

    Where there is one more prompt than the rows at hand have, the mask has to hide it.
    """
    deep = [prompt.layers for prompt in prompts if prompt.layers]
    joined = [
        tuple(torch.cat([states[kind] for states in layer], -2) for kind in (0, 1)) for layer in zip(*deep, strict=True)
    ]
    return Cache(layers=[_Fixed(*states) for states in joined])


@contextmanager
def updated(model: Any, prompt: Attached) -> Iterator[None]:
    """Within, the model's modules give what the prompt's low-rank updates add."""
    if prompt.updates:
        check_not_recomputed(model)
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
    given = inputs[0]
    return output + F.linear(F.linear(given, down.to(given)), up.to(given))


def by_updates(rows: Sequence[Row], prompts: Sequence[Prompt]) -> list[tuple[Attached, list[int]]]:
    """Return groups of rows, by number, that one forward can hold, each with the prompt whose low-rank updates the model then has."""
    groups: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        updating = row.prompt is not None and of(prompts[row.prompt]).updates
        groups.setdefault(row.prompt if updating else -1, []).append(number)  # pyright: ignore[reportArgumentType]
    return [(of(None if owner < 0 else prompts[owner]), numbers) for owner, numbers in groups.items()]


def in_order(rows: Sequence[Row], groups: Sequence[Sequence[int]], parts: Sequence[Tensor]) -> Tensor:
    """What was computed for each label of groups of rows (their numbers), in the order of the rows: [N, ...]."""
    if len(parts) == 1:
        return parts[0]
    owners = torch.tensor([number for numbers in groups for number in numbers for _ in rows[number].labels])
    return torch.cat(list(parts))[owners.argsort(stable=True).to(parts[0].device)]


def recomputed(model: Any) -> bool:
    """Whether transformers computes layers a second time in the backward pass: gradient checkpointing."""
    return model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def check_not_recomputed(model: Any) -> None:
    """Refuse to train with a deep prefix or low-rank updates while transformers recomputes layers: it would do so without them.

    Raises:
        ValueError: gradient checkpointing is on.
    """
    if recomputed(model):
        raise ValueError(
            "gradient checkpointing loses a deep prefix and an attached LoRA; set gradient_checkpointing=false, or use a "
            "soft prompt"
        )

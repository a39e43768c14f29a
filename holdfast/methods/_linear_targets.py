"""The modules that a method adapts or decomposes: all linear ones but the head, or those that the user names; and their weights."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from holdfast.plugins import unknown


def target_ends(adaptable: Sequence[str], target: str) -> list[str]:
    """Return the names in `target`, each the end of a module's name, as PEFT reads them; `adaptable` are the modules' names.

    Raises:
        ValueError: one is the end of no name (the nearest is named), or there is none.
    """
    ends = [part.strip() for part in target.split(",") if part.strip()]
    for end in ends:
        # PEFT says nothing of a name that fits no module as long as another one does.
        # The dots make `q_proj` match `attn.q_proj` and not `attn.seq_proj`.
        if not any(f".{name}".endswith(f".{end}") for name in adaptable):
            raise unknown("module in `target`", end, sorted({name.rpartition(".")[2] for name in adaptable}))
    if not ends:
        raise ValueError(f"target={target!r}: names no module; leave it out to adapt every linear layer")
    return ends


def linear_targets(model: Any, target: str, kinds: Any) -> dict[str, nn.Module]:
    """Return the modules of the classes `kinds` whose names end in one of `target` (names with commas, or all-linear), by name.

    Raises:
        ValueError: `target` names a module that the model does not have, or the head.
    """
    head = model.get_output_embeddings()
    linear = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    chosen = [name for name in linear if linear[name] is not head]
    if target != "all-linear":
        ends = target_ends(list(linear), target)
        chosen = [name for name in linear if any(f".{name}".endswith(f".{end}") for end in ends)]
    for name in chosen:
        if linear[name] is head:
            # Often the embeddings themselves, which would move with it; and its inputs are read at label places alone.
            raise ValueError(f"target={target!r}: {name} is the head, which cannot be decomposed; leave it out")
    return {name: linear[name] for name in chosen}


def matrix(module: Any) -> Tensor:
    """Return a module's weight `[out, in]`, a view of it where it is held transposed."""
    return module.weight.detach().T if isinstance(module, Conv1D) else module.weight.detach()

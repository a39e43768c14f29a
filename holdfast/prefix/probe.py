"""Try with numbers, on a loaded model, whether two computations agree: what it can do is never told by its name."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from holdfast.models import describe

# What a model raises that cannot compute rows in our way (a NotImplementedError is a RuntimeError).
REFUSALS = (TypeError, ValueError, RuntimeError, AttributeError, IndexError)
_SEEN: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], bool]] = WeakKeyDictionary()


def agrees(model: Any, attempt: Callable[..., tuple[Tensor, Tensor]], *arguments: int, refused: bool = False) -> bool:
    """Return True where two computations of logits `[N, V]` agree on this model; tried once for each attention implementation.

    What the model refuses does not agree, or counts as `refused`.
    """
    key = attempt.__name__, arguments, str(getattr(model.config, "_attn_implementation", None))
    seen = _SEEN.setdefault(model, {})
    if key not in seen:
        try:
            with inference(model), unrounded(model):
                first, second = attempt(model, *arguments)
        except torch.OutOfMemoryError:
            raise  # says nothing about the model, and must not be remembered as if it did
        except REFUSALS:
            seen[key] = refused
        else:
            seen[key] = difference(first, second) < bound(model)
    return seen[key]


def difference(first: Tensor, second: Tensor) -> float:
    """Return the root mean square difference of two computations of logits `[N, V]`, as a share of the logits' spread."""
    first, second = first.float(), second.float()
    return float((first - second).pow(2).mean().sqrt() / first.std())


def bound(model: Any) -> float:
    """Return the difference below which two computations on this model agree."""
    # Rounding makes a few epsilons, a mask or position that is not obeyed makes about 1: the geometric mean of the two separates them
    # with the same margin on both sides.
    return describe.epsilon(model) ** 0.5


def unrounded(model: Any) -> torch.autocast:
    """Return a context without autocast, so that two computations do not differ by its rounding."""
    return torch.autocast(model.device.type, enabled=False)


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """Switch off gradients and dropout within the context; afterwards every module trains again that did before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def takes(model: Any, argument: str) -> bool:
    """Return True where the model's forward has an argument of this name."""
    # An adapter's wrapper takes **kwargs and would hide the arguments of the model inside.
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return argument in _arguments(type(plain))


@lru_cache(maxsize=64)
def _arguments(model_class: type) -> frozenset[str]:
    return frozenset(inspect.signature(model_class.forward).parameters)  # pyright: ignore[reportAttributeAccessIssue]


def random_tokens(model: Any, count: int) -> list[int]:
    """Return random token ids, the same each time."""
    random = torch.Generator().manual_seed(0)
    return torch.randint(model.get_input_embeddings().weight.shape[0], (count,), generator=random).tolist()

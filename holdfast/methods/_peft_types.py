"""Facts about the types of adapters that PEFT has, from its own tables and classes."""

import importlib
import importlib.util
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING


def configurations() -> dict[str, Any]:
    """Return PEFT's configurations by the names of their types."""
    return {name.value: config for name, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}


def has_layers(name: str) -> bool:
    """Return whether a type puts layers into the model; another one is computed beside it, in a forward of PEFT's own."""
    return importlib.util.find_spec(_layers(name)) is not None


def merges(name: str) -> bool:
    """Return whether PEFT can merge a type, by the text of its classes: before a model is there, nothing can be tried."""
    layers = vars(importlib.import_module(_layers(name))).values()
    return _implements(_tuner(name), "merge_and_unload") and any(_implements(layer, "merge") for layer in layers)


def _tuner(name: str) -> Any:
    return PEFT_TYPE_TO_TUNER_MAPPING[peft.PeftType(name)]


def _layers(name: str) -> str:
    return f"{_tuner(name).__module__.rpartition('.')[0]}.layer"


def _implements(member: Any, name: str) -> bool:
    """Return whether a class has a method that does more than to say that it is not implemented."""
    method = getattr(member, name, None) if isinstance(member, type) else None
    return method is not None and "raise NotImplementedError" not in inspect.getsource(method)


@contextmanager
def quiet() -> Iterator[None]:
    """Let PEFT's warnings pass: they advise users of PEFT on its own arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

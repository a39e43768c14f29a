"""Facts about the types of adapters that PEFT has, from its own tables and classes."""

import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer


def configurations() -> dict[str, Any]:
    """Return PEFT's configurations by the names of their types."""
    return {name.value: config for name, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}


def has_layers(name: str) -> bool:
    """Return whether a type puts layers into the model; another one is computed beside it, in a forward of PEFT's own."""
    return importlib.util.find_spec(_layers(name)) is not None


def merges(name: str) -> bool:
    """Return whether PEFT has a merge for the layers of a type; that a merge of its own refuses shows only once it is tried."""
    layers = vars(importlib.import_module(_layers(name))).values()
    classes = [layer for layer in layers if isinstance(layer, type) and issubclass(layer, BaseTunerLayer)]
    return any(layer.merge is not BaseTunerLayer.merge for layer in classes)


def _layers(name: str) -> str:
    return f"{PEFT_TYPE_TO_TUNER_MAPPING[peft.PeftType(name)].__module__.rpartition('.')[0]}.layer"


@contextmanager
def quiet() -> Iterator[None]:
    """Let PEFT's warnings pass: they advise users of PEFT on its own arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

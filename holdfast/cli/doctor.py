"""Report of this machine's abilities, and of the settings with which a given model runs on it."""

import os
import platform
from typing import Any

import torch

from holdfast.api.versions import library_versions
from holdfast.models.precision import AUTO, Loading


def examine(model: str | None = None, loading: Loading = AUTO, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Facts about the machine and, where one is given, the model: how its prefixes are computed, and the limits of its positions."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "processor": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads for torch",
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        **library_versions(),
    }
    if model is None:
        return facts
    from holdfast.models import describe, resolve
    from holdfast.prefix.model import capability, takes_vectors

    pretrained = resolve.load(model, loading=loading, trust_remote_code=trust_remote_code)
    can, architecture = capability(pretrained.model), pretrained.architecture
    packing = "packed" if architecture.one_sequence else "each input encoded once, side by side"
    count = sum(p.numel() for p in pretrained.model.parameters())
    return facts | {
        "model": model,
        "parameters": count,
        "weights hash": pretrained.hash,
        "kind": architecture.description,
        "precision": f"{pretrained.loading.dtype} on {pretrained.loading.device}",
        "positions": pretrained.max_length,
        "sliding window": describe.window(pretrained.model),
        "attention": pretrained.model.config._attn_implementation,
        "prefix core": f"{packing if can.packed else 'reference: slower, same results'} ({can.why})",
        "soft prompts": "yes"
        if takes_vectors(pretrained.model)
        else "none: the model takes tokens only; use full or lora",
        "chat template": bool(pretrained.tokenizer.chat_template),
    }

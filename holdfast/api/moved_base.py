"""Adapters whose base lies elsewhere than their configuration says: the base that the user names stands in for it, where it fits."""

import sys
from pathlib import Path

import torch
from transformers import AutoConfig

from holdfast.models import resolve
from holdfast.models.adapter import Adapter, is_adapter, lora_sizes, read_adapter
from holdfast.models.architecture import of_config
from holdfast.models.endpoint import endpoint_of
from holdfast.models.hub import can_be_had
from holdfast.models.loading import quiet
from holdfast.models.spread import hollow
from holdfast.prompts import load as prompts


def stand_in(argument: str, base: str, recorded: str | None = None, *, trust_remote_code: bool = False) -> str | None:
    """Return `base` where a MODEL argument is an adapter whose own base cannot be had, and say so on stderr; else None.

    Its own base is the one that its configuration names, or `recorded`. Whether it fits `base` is read from the configuration of that and
    from the adapter's tensors, before any weights are loaded.

    Raises:
        ValueError: the adapter's own base cannot be had, and it does not fit this one, or nothing can be read of this one.
    """
    if not is_adapter(argument):
        return None
    adapter = read_adapter(argument, base)
    recorded = recorded or adapter.recorded
    if recorded and can_be_had(recorded):
        return None
    gone = f"its own base {recorded} is not here" if recorded else "does not say what its base is"
    if endpoint_of(base) is not None:
        raise ValueError(
            f"{argument}: {gone}, and {base} is behind a server; name its place as base_model_name_or_path in its adapter_config.json"
        )
    reason = _mismatch(adapter, base, trust_remote_code=trust_remote_code)
    if reason:
        raise ValueError(f"{argument}: {gone}, and it does not fit {base}: {reason}")
    print(f"holdfast: {argument}: {gone}; it is taken on {base}, which it fits", file=sys.stderr, flush=True)
    return base


def _mismatch(adapter: Adapter, base: str, *, trust_remote_code: bool) -> str:
    """Return why an adapter does not fit a base; empty where it does, and for a base on the hub, which is compared when it is loaded."""
    source = resolve.resolve(base)
    if not Path(source).is_dir():
        return ""
    try:
        with quiet():
            # Eager: other ways of attention look at the numbers of their mask, and here are none.
            config = AutoConfig.from_pretrained(
                source, trust_remote_code=trust_remote_code, attn_implementation="eager"
            )
            model = hollow(config, of_config(config))
    except (OSError, KeyError) as error:
        raise ValueError(f"{base}: its configuration cannot be read: {str(error).splitlines()[0]}") from error
    if not adapter.merges:
        try:
            return prompts.load(adapter.folder).mismatch(model)
        except RuntimeError:  # A forward that looks at numbers; then the prompt is compared when it is attached.
            return ""
    modules = dict(model.named_modules())
    for module, (rows, columns) in lora_sizes(adapter).items():
        if module not in modules:
            return f"it is for a module {module}, which that model does not have"
        weight = getattr(modules[module], "weight", None)
        # As sets: some models store a matrix the other way around.
        if isinstance(weight, torch.Tensor) and weight.ndim == 2 and {rows, columns} != set(weight.shape):
            size = " x ".join(map(str, weight.shape))
            return f"it changes matrices of {rows} x {columns} at {module}, and that model has {size}"
    # Adapters of other types are compared by PEFT, when it loads them.
    return ""

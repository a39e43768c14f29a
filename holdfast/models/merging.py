"""Make an adapter's folder part of a model: merged into its weights, or attached where it cannot be."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from torch import nn

from holdfast.models import loading, side_network, sparse_difference, spread
from holdfast.models.adapter import WEIGHTS, type_of
from holdfast.models.loading import Pretrained, listed, save
from holdfast.models.precision import Loading

# Adapters of types that PEFT does not have: what attaches each to a model, and returns in words what stands there beside the weights.
OWN_TYPES: Mapping[str, Callable[[Any, Path], str]] = {
    side_network.TYPE: side_network.read,
    sparse_difference.TYPE: sparse_difference.add,
}


def save_merged(pretrained: Pretrained, adapted: Any, adapter: Path, folder: Path) -> None:
    """Write the model with a LoRA merged, whose PEFT model is `adapted` and whose folder is `adapter`, as `save` does.

    A quantised model is read again in the checkpoint's own precision, and the LoRA that was trained over the quantised one is added to
    that: whole numbers of 4 bits cannot hold the sum. One that is spread over devices is read again into memory.
    """
    if pretrained.loading.plain:
        # It takes the adapter off the model.
        pretrained.model = adapted.merge_and_unload()
        save(pretrained, folder)
        return
    dtype = "auto" if pretrained.loading.quantised else pretrained.loading.dtype
    trusted = pretrained.trust_remote_code
    whole = loading.load(pretrained.files or pretrained.source, Loading(dtype, "cpu"), trust_remote_code=trusted)
    merge(whole, adapter)
    save(replace(whole, tokenizer=pretrained.tokenizer), folder)


def merge(pretrained: Pretrained, adapter: Path) -> None:
    """Add what an adapter's folder holds to the weights, in place; to quantised ones, and to spread ones, it is attached.

    So is what PEFT cannot merge, and what is of a type of this library (`OWN_TYPES`); `Pretrained.attached` then says so.

    Raises:
        ValueError: the adapter lacks a tensor that its configuration asks for, or has it in another shape.
    """
    if attach := OWN_TYPES.get(type_of(adapter)):
        # What stood there before stays where this one becomes part of the weights.
        pretrained.attached = attach(pretrained.model, adapter) or pretrained.attached
    elif not pretrained.loading.plain:
        # Attached and not merged: the sum would be rounded to 4 or 8 bits once more, and weights on the disk would be written.
        if pretrained.loading.spread:
            _attach(pretrained.model, adapter)
        else:
            peft.PeftModel.from_pretrained(pretrained.model, adapter)
        pretrained.attached = f"the adapter of {adapter}, beside weights that are quantised or spread,"
    else:
        _merge_plain(pretrained, adapter)
    pretrained.model.requires_grad_(False).eval()
    # The weights are no longer those of the folder, so that its fingerprint is not theirs.
    pretrained.identity, pretrained.files = "", None


def _merge_plain(pretrained: Pretrained, adapter: Path) -> None:
    """Add a PEFT adapter to weights that are in memory as they are; what PEFT cannot merge stays attached."""
    with warnings.catch_warnings():
        # PEFT warns of what is on its way out, of kernels that are not built, and of missing keys, which are refused below.
        warnings.simplefilter("ignore")
        try:
            wrapped = peft.PeftModel.from_pretrained(pretrained.model, adapter)
        except RuntimeError as error:
            raise ValueError(f"{adapter}: does not fit the model: {' '.join(str(error).split())[:200]}") from None
        # PEFT warns where a tensor is missing, and leaves the adapter's random one in its place.
        needed = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        with safe_open(adapter / WEIGHTS, "pt") as file:
            missing = sorted(needed.keys() - set(file.keys()))
        if missing:
            raise ValueError(
                f"{adapter}: lacks {listed(missing)}, which its adapter_config.json asks for; train it again"
            )
        inner: Any = wrapped.base_model.model
        layers = ((name, module) for name, module in inner.named_modules() if isinstance(module, BaseTunerLayer))
        # Tokens of their own are put in place and not added, so that twice is as good as once.
        adapted = [name for name, layer in layers if not isinstance(layer, TrainableTokensLayer)]
        if shared := tied(inner, adapted):
            # PEFT adds the update to the one tensor that both have, so that the other module would change as well.
            pretrained.model = inner
            pretrained.attached = f"an adapter of {shared[0]}, whose weight is another module's too,"
            return
        try:
            pretrained.model = wrapped.merge_and_unload()
        except (NotImplementedError, ValueError):  # PEFT cannot merge this type: its layers stay in the model.
            pretrained.model = inner
            pretrained.attached = f"an adapter of type {type_of(adapter)}, which PEFT cannot merge,"


def tied(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Return those of the named modules whose weight is also another module's, such as that of a head which is the word embeddings'."""
    # Once for each module that has it, which `named_parameters` does of a shared one if it is told to.
    owners = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    modules = dict(model.named_modules())
    # An adapter's layer holds the module that it stands in the place of.
    layers = {name: getattr(modules[name], "base_layer", modules[name]) for name in names}
    return [name for name, layer in layers.items() if any(owners[id(p)] > 1 for p in layer.parameters(recurse=False))]


@contextmanager
def adapting() -> Iterator[None]:
    """Let PEFT put its layers into a model, without a warning that is for its developers."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5 for gradient checkpointing by a name that is on its way out.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        yield


def _attach(model: Any, adapter: Path) -> None:
    """Put what a PEFT adapter's folder holds beside the weights of a model that is spread; PEFT itself would spread it once more."""
    with adapting(), spread.stand_ins(model):
        config = peft.PeftConfig.from_pretrained(str(adapter))
        # Where its base lies now, which PEFT would put there, may be another folder.
        config.base_model_name_or_path = None
        wrapped = peft.get_peft_model(model, config)
        result = peft.set_peft_model_state_dict(wrapped, peft.load_peft_weights(str(adapter), device="cpu"))
    if result.unexpected_keys:
        raise ValueError(f"{adapter}: does not fit the model: it has no {listed(sorted(result.unexpected_keys))}")

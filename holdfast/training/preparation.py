"""Prepare a model for training: the methods add and copy what they need, one of them chooses what moves, and all the rest is frozen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from accelerate.utils import set_seed
from torch import nn

from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.methods.combinations import check_combination, parameter_choosing_method
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.training.batches import Mixture, Stream

SAMPLE = 512  # rows that methods may prepare from


def contexts_of(
    model: PrefixModel,
    pretrained: Pretrained,
    stream: Stream | Mixture,
    inputs: Sequence[Mapping[str, Path]],
    steps: int,
) -> list[Context]:
    """Return the context of each method: all see the same model and rows, and each the stages in its own fields (`inputs`)."""
    rows = stream.sample(SAMPLE)
    return [Context(model, pretrained, rows, folders, steps, pass_steps=stream.pass_steps) for folders in inputs]


def prepare(
    contexts: Sequence[Context], methods: Sequence[Method], seed: int
) -> tuple[list[ParameterGroup], dict[str, nn.Parameter]]:
    """Let the methods prepare before anything moves; return the groups that may move, and all their parameters by name."""
    # Here and not earlier: what was drawn before (loading, other stages) must not reach into what methods draw now.
    set_seed(seed)
    check_combination(methods)
    model, choosing = contexts[0].model, parameter_choosing_method(methods)
    # The one that chooses goes first: it may add modules, which the others then see.
    for method, context in sorted(zip(methods, contexts, strict=True), key=lambda pair: pair[0] is not choosing):
        method.prepare(context)
    model.requires_grad_(False)  # Prompts too; the groups then free again what moves, and nothing else.
    groups = list(choosing.parameters(model) or ())
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_(True)
    return groups, {name: p for name, p in model.named_parameters() if p.requires_grad}


def set_dropout(model: nn.Module, rate: float | None) -> None:
    """Set every dropout of a model, the attention's own rate included; None leaves all as it is."""
    if rate is None:
        return
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        for name in ("attention_dropout", "dropout_rate", "dropout"):  # T5's attention has the last.
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)

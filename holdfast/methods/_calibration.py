"""Rows that a method measures the model on before training, and the covariance of what each module reads on them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.methods._named_content import holds_texts, read, side_of, text_rows
from holdfast.methods._written_texts import continuations
from holdfast.methods.base import Context
from holdfast.models.loading import Pretrained
from holdfast.prefix import reference
from holdfast.row import Row
from holdfast.tasks.sources import load_task
from holdfast.tasks.text.templates import render
from holdfast.tasks.text.tokenization import encode


def written_rows(context: Context, count: int, length: int, seed: int) -> list[Row]:
    """Return texts that the model writes from nothing, drawn at temperature 1: rows of up to `length` tokens, all predicted.

    Raises:
        ValueError: the model has an encoder and writes answers alone, or nothing comes out.
    """
    pretrained = context.pretrained
    if not pretrained.architecture.plain_texts:
        raise ValueError("calibrate: a model with an encoder writes no texts from nothing; name a TASK in `calibrate`")
    length = min(length, pretrained.max_length - 2)
    texts = continuations(context.language_model(), "", count, length, seed)
    rows = text_rows(((f"written[{i}]", text) for i, text in enumerate(texts)), pretrained.tokenizer, length)
    if not rows:
        raise ValueError(
            "calibrate: the model wrote no text of two tokens from nothing; name a TASK or a file of texts"
        )
    return rows


def named_rows(argument: str, pretrained: Pretrained, count: int, length: int) -> list[Row]:
    """Return the first rows of a file of texts (one a line, or JSON lines with a `text`), or of a TASK's training examples.

    Raises:
        ValueError: there is no such file or task, it has no rows, or the model has an encoder and the file plain texts.
    """
    if holds_texts(Path(argument)):
        if not pretrained.architecture.plain_texts:
            raise ValueError(f"calibrate={argument}: a model with an encoder reads no plain texts; name a TASK instead")
        rows = text_rows(read(argument), pretrained.tokenizer, min(length, pretrained.max_length), count)
        if not rows:
            raise ValueError(f"calibrate={argument}: holds no text of two tokens or more")
        return rows
    task = load_task(argument)
    examples = next((task.splits[split] for split in ("train", "validation", "test") if task.splits.get(split)), ())
    if not examples:
        raise ValueError(f"calibrate={argument}: the task has no examples")
    return [
        encode(
            pretrained.tokenizer,
            render(task.template, example, (), pretrained.tokenizer),
            max_length=min(length, pretrained.max_length),
            eos=True,
            name=f"{task.name}[{number}]",
            truncation=side_of(task.template),
            layout=pretrained.architecture.layout,
        )
        for number, example in enumerate(examples[:count])
    ]


@torch.no_grad()
def covariances(context: Context, modules: Mapping[str, nn.Module], rows: Sequence[Row]) -> dict[str, Tensor]:
    """Return X^T X / rows of each module's inputs X `[tokens, in]`, each row's divided by its maximum's magnitude: `[in, in]`.

    Rows run one by one behind their prompts, unpadded: a padded place would count as an input, and a row's scale is its own.
    Modules that read the same tensor (queries, keys and values) share one matrix.

    Raises:
        ValueError: an input is not finite.
    """
    sums: dict[str, Tensor] = {}
    leaders: dict[str, str] = {}
    last: list[Any] = [None, ""]

    def add(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0] is last[0] and leaders.setdefault(name, last[1]) == last[1] and name not in sums:
            return
        assert leaders.get(name, name) == name, f"{name} reads another input than in the row before"
        last[:] = inputs[0], name
        leaders[name] = name
        read = inputs[0].detach().flatten(0, -2).float()
        largest = read.max().abs()
        # A row without any activation says nothing, and 0 / 0 would spoil all others.
        scaled = read / largest if largest > 0 else torch.zeros_like(read)
        sums[name] = scaled.T @ scaled + sums.get(name, 0)

    hooks = [module.register_forward_pre_hook(partial(add, name)) for name, module in modules.items()]
    prompts = [prompt() for prompt in context.model.prompts]
    try:
        for row in rows:
            reference.label_states(context.model.model, [row], prompts)
            last[:] = None, ""
    finally:
        for hook in hooks:
            hook.remove()
    means = {name: total / len(rows) for name, total in sums.items()}
    for name, mean in means.items():
        if not bool(mean.isfinite().all()):
            raise ValueError(f"calibrate: what {name} reads is not finite in these rows; take other texts")
    return {name: means[leaders[name]] for name in modules if name in leaders}

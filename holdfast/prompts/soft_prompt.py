"""P trained vectors in front of a row, their initial values, and PEFT's file format for them.

Lester et al. 2021, The Power of Scale for Parameter-Efficient Prompt Tuning (arXiv:2104.08691).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.models.describe import embedding_rms
from holdfast.prefix.capability import takes_vectors
from holdfast.prompts.peft_files import read_adapter, write_adapter

FREQUENT = 5000  # Lester et al. sample the most common tokens of their vocabulary, this many.
CHOICES = "vocabulary, text:SOME TEXT, labels or uniform"
KEY = "prompt_embeddings"


class SoftPrompt(nn.Module):
    """P vectors of the width of the model's word embeddings, held in float32: `vectors` [P, D]."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        # In float32 whatever the model's precision: steps of a small learning rate are lost in bfloat16. A copy, because the
        # vectors may be rows of the model's embeddings.
        self.vectors = nn.Parameter(vectors.detach().to(torch.float32, copy=True))

    def forward(self) -> Tensor:
        """Return the vectors [P, D] that stand before a row."""
        return self.vectors

    @property
    def length(self) -> int:
        """P."""
        return len(self.vectors)

    def mismatch(self, model: Any) -> str:
        """Return the reason why the prompt does not fit this model; empty where it does."""
        width, needed = self.vectors.shape[1], model.get_input_embeddings().weight.shape[1]
        return "" if width == needed else f"this prompt is {width} wide, and the model needs {needed}"

    def save(self, folder: str | Path, *, base: str = "", task_type: str = "CAUSAL_LM") -> None:
        """Write a PEFT prompt-tuning adapter, readable by `PeftModel.from_pretrained(model, folder)`.

        `base` is where the model came from; the configuration comes last, so that a folder with one is whole.
        """
        length, width = self.vectors.shape
        config = {
            "peft_type": "PROMPT_TUNING",
            "task_type": task_type,
            "base_model_name_or_path": base,
            "num_virtual_tokens": length,
            "token_dim": width,
            "num_transformer_submodules": 1,  # An encoder's input gets the prompt, its decoder none.
            "prompt_tuning_init": "RANDOM",  # Before PEFT reads the weights: the one that needs no tokenizer.
            "inference_mode": True,
        }
        write_adapter(folder, config, {KEY: self.vectors})

    @classmethod
    def load(cls, folder: str | Path, width: int | None = None) -> "SoftPrompt":
        """Return the soft prompt in a PEFT adapter folder; `width` is that of the model's word embeddings, where known.

        Raises:
            ValueError: the folder holds no prompt-tuning adapter, or one for a model of another width.
        """
        config, tensors = read_adapter(folder)
        try:
            prompt = cls.read(config, tensors)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
        vectors = prompt.vectors
        if width is not None and vectors.shape[1] != width:
            raise ValueError(
                f"{folder}: made for word embeddings of width {vectors.shape[1]}, and this model's have {width}; use "
                f"the model it was trained with ({config.get('base_model_name_or_path') or 'not recorded'})"
            )
        return prompt

    @classmethod
    def read(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "SoftPrompt":
        """Return the soft prompt of a PEFT adapter.

        Raises:
            ValueError: it is an adapter of another kind.
        """
        peft_type = config.get("peft_type")
        if peft_type != "PROMPT_TUNING" or KEY not in tensors or tensors[KEY].ndim != 2:
            raise ValueError(
                f"an adapter of type {peft_type} with {', '.join(sorted(tensors))}; a soft prompt is of type PROMPT_TUNING with {KEY}"
            )
        length = config.get("num_virtual_tokens", len(tensors[KEY]))
        if length != len(tensors[KEY]) or not len(tensors[KEY]) or not tensors[KEY].is_floating_point():
            raise ValueError(
                f"its configuration has {str(length)[:40]} virtual tokens, and its file {len(tensors[KEY])} of {tensors[KEY].dtype}"
            )
        return cls(tensors[KEY])


def check_takes_vectors(model: Any) -> None:
    """Refuse to train a soft prompt for a model that cannot compute one.

    Raises:
        ValueError: the model takes tokens only.
    """
    if not takes_vectors(model):
        raise ValueError(
            f"{type(model).__name__} takes tokens only: its layers look embeddings up by token id, and a soft prompt has none; use a "
            "method without a soft prompt (full, lora)"
        )


def initial(
    model: Any,
    tokenizer: Any,
    length: int,
    init: str = "vocabulary",
    *,
    seed: int = 0,
    tokens: Iterable[Sequence[int]] = (),
    labels: Sequence[str] = (),
) -> SoftPrompt:
    """Return a soft prompt before training.

    Args:
        model: Its word embeddings give the width, the size, and the vectors to start from.
        tokenizer: Reads `text:` and `labels`, and names the special tokens.
        length: P, the number of vectors.
        init: `vocabulary`: word vectors drawn from the tokens most frequent in `tokens`. `text:SOME TEXT`: the text's
            word vectors, repeated or cut to P. `labels`: the mean word vector of each label, then as `vocabulary`.
            `uniform`: random, of the word vectors' root mean square.
        seed: Of the draws.
        tokens: Token ids of the training rows, to count.
        labels: The task's class labels as text.

    Raises:
        ValueError: the length is below 1, `init` is none of these, or it lacks what it needs; there are more labels than vectors.
    """
    if length < 1:
        raise ValueError(f"a soft prompt of length {length} is none; give at least 1, or train without a prompt")
    check_init(init)
    random = torch.Generator().manual_seed(seed)
    source, _, text = init.partition(":")
    if source == "text":
        ids = _ids(tokenizer, text)
        vectors = _words(model, (ids * math.ceil(length / len(ids)))[:length])
    elif init == "vocabulary":
        vectors = _words(model, _frequent(tokenizer, tokens, length, random))
    elif init == "labels":
        # The first of them in the alphabet would be no start for the others; texts that are written freely are no labels.
        if not 0 < len(labels) <= length:
            raise ValueError(
                f"prompt.init='labels': needs a task with choices, at most prompt.length={length}; the training rows have {len(labels)} "
                "different answers; use vocabulary, or another length"
            )
        means = torch.stack([_words(model, _ids(tokenizer, label)).mean(0) for label in labels])
        rest = length - len(means)
        vectors = torch.cat([means, _words(model, _frequent(tokenizer, tokens, rest, random))]) if rest else means
    else:
        size = math.sqrt(3) * embedding_rms(model)  # Uniform in [-a, a] has the root mean square a / sqrt(3).
        vectors = torch.empty(length, _words(model, [0]).shape[1]).uniform_(-size, size, generator=random)
    return SoftPrompt(vectors)


def check_init(init: str) -> None:
    """Refuse what is no choice of initial values.

    Raises:
        ValueError: it is none, or a text is missing.
    """
    source, _, text = init.partition(":")
    if init not in ("vocabulary", "labels", "uniform") and not (source == "text" and text.strip()):
        lack = ", and text: needs a text behind the colon" if source == "text" else ""
        raise ValueError(f"prompt.init={init!r}: use {CHOICES}{lack}")


def _words(model: Any, ids: Sequence[int]) -> Tensor:
    """Return word vectors as the model reads them: [N, D], float32, on the CPU."""
    # The module's output and not rows of its weight, because some models scale inside it.
    with torch.no_grad():
        return (
            model.get_input_embeddings()(torch.tensor(list(ids), dtype=torch.long, device=model.device)).float().cpu()
        )


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ValueError(f"the tokenizer makes no token of {text!r}, so it cannot start a soft prompt")
    return ids


def _frequent(tokenizer: Any, rows: Iterable[Sequence[int]], length: int, random: torch.Generator) -> list[int]:
    """Return P different tokens among the most frequent ones, never special ones; drawn again where they are fewer."""
    counts = Counter(chain.from_iterable(rows))
    for special in tokenizer.all_special_ids:
        counts.pop(special, None)
    if not counts:
        raise ValueError("the initial soft prompt is drawn from the tokens of the training rows, and there are none")
    # By count and then by id: the order of equal counts would otherwise be that of the rows.
    common = [token for token, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:FREQUENT]]
    drawn: list[int] = []
    while len(drawn) < length:
        drawn += [common[i] for i in torch.randperm(len(common), generator=random)]
    return drawn[:length]

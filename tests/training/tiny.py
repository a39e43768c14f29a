"""A tiny random model, its tokenizer and a few rows to learn: what the training tests share."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from holdfast.methods.base import Method
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.training.batches import Stream
from holdfast.training.loop import Trainer, Training
from holdfast.training.settings import TrainSettings

VOCABULARY = 40


def pretrained(seed: int = 0, **options: Any) -> Pretrained:
    """Two layers of width 32 at `initializer_range=0.2`, where wrong gradients and positions show (specs of the suite)."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        **options,
    )
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, VOCABULARY)}}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    return Pretrained(LlamaForCausalLM(config).eval(), tokenizer, "tiny", "0" * 16)


def rows(count: int = 8, seed: int = 0, answers: int = 3) -> list[Row]:
    """Ragged rows of 4 to 12 tokens, of which the last ones are predicted: fewer in some than in others."""
    draw = random.Random(seed)
    found = []
    for i in range(count):
        length = draw.randint(4, 12)
        tokens = [1, *(draw.randrange(3, VOCABULARY) for _ in range(length - 1))]
        predicted = draw.randint(1, answers)
        found.append(
            Row(tuple(tokens), tuple([0.0] * (length - predicted) + [1.0] * predicted), name=f"tiny/train[{i}]")
        )
    return found


def trainer(
    folder: Path, *methods: Method, data: list[Row] | None = None, model: Pretrained | None = None, **settings: Any
) -> Trainer:
    """A trainer over `data`; its rows stand behind the last soft prompt, where there is one."""
    given = data or rows()
    loaded = model or pretrained()
    wrapped = PrefixModel(loaded.model)

    def row(index: int, epoch: int) -> Row:
        one = given[index]
        return Row(one.tokens, one.weights, len(wrapped.prompts) - 1 if len(wrapped.prompts) else None, one.name)

    options = {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "warmup": 0.0, "save_every": 3} | settings
    stream = Stream(row, len(given), options["batch_size"], options.get("seed", 0))
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(loaded, wrapped, stream, list(methods), TrainSettings(**options), folder, quiet=True)


def losses(folder: Path) -> list[float]:
    """The losses that a run logged."""
    import json

    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def weights(run: Trainer | Training) -> dict[str, torch.Tensor]:
    """Every parameter of a trainer's model, copied."""
    return {name: p.detach().clone() for name, p in run.model.named_parameters()}


def steps(folder: Path) -> int:
    """The steps that a run has logged."""
    return len(losses(folder))


def resumes(make: Callable[..., Trainer], folder: Path) -> bool:
    """Whether a run that ended after three steps and goes on has, bit by bit, the weights of one that did not stop.

    `make(folder)` makes the run, and `make(folder, steps=3)` its first part.
    """
    whole, parts = folder / "whole", folder / "parts"
    make(parts, steps=3).train()
    runs = [make(whole), make(parts)]
    for run in runs:
        run.train()
    expected, resumed = map(weights, runs)
    return all(torch.equal(weight, expected[name]) for name, weight in resumed.items())


def alike(folder: Path, methods: Sequence[Method], others: Sequence[Method], **settings: Any) -> bool:
    """Whether runs of these methods and of the others log the same losses and end with the same weights, bit by bit."""
    logged, ended = [], []
    for name, used in (("one", methods), ("other", others)):
        run = trainer(folder / name, *used, **settings)
        run.train()
        logged.append(losses(folder / name))
        ended.append(weights(run))
    return logged[0] == logged[1] and all(torch.equal(weight, ended[1][name]) for name, weight in ended[0].items())

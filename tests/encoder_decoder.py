"""Tiny random T5 and mT5 models and a SentencePiece tokenizer for each, trained here: what tests of encoder-decoders share.

T5 and mT5 spell their sentinel tokens differently: T5's are added behind the vocabulary, mT5's are pieces of it.
"""

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers as t

from holdfast.models.loading import Pretrained
from holdfast.row import Row

KINDS = ("t5", "mt5")
WORDS = [f"w{i}" for i in range(3, 40)]
WIDTH = 32
TEXT = (
    "Q: what is the capital of France? A: Paris",
    "Q: what is the capital of Italy? A: Rome",
    "the cat sat on the mat question: a cat sat Is it true or false? answer: True False Neither",
    "Translate English to French: the cat le chat Article: a long text One sentence summary: short",
    " ".join(WORDS),
)


@functools.cache
def tokenizer(kind: str) -> Any:
    """SentencePiece unigram pieces, converted as transformers converts T5's `spiece.model`."""
    folder = tempfile.mkdtemp()
    own = ["▁<extra_id_1>", "▁<extra_id_0>"]
    sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
        sentence_iterator=iter(TEXT * 20),
        model_prefix=f"{folder}/spiece",
        vocab_size=140,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        user_defined_symbols=own if kind == "mt5" else [],
    )
    return t.T5Tokenizer.from_pretrained(folder, extra_ids=0 if kind == "mt5" else 5)


def model(kind: str, seed: int = 0, **changes: Any) -> Any:
    """Two layers each way, in evaluation mode. `initializer_factor=1.5`: attention is not uniform, and a wrong mask shows."""
    config_kind, model_kind = {
        "t5": (t.T5Config, t.T5ForConditionalGeneration),
        "mt5": (t.MT5Config, t.MT5ForConditionalGeneration),
    }[kind]
    torch.manual_seed(seed)
    fields = {
        "vocab_size": len(tokenizer(kind)),
        "d_model": WIDTH,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "initializer_factor": 1.5,
    }
    made = model_kind(config_kind(**fields | changes)).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "relative_attention_bias" in name:  # A bias by distance that is worth noticing.
                weight.normal_(0, 2)
        if (
            kind == "mt5"
        ):  # Its real weights have a head of their own, which transformers finds out from the file alone.
            made.lm_head.weight = torch.nn.Parameter(made.lm_head.weight.roll(1, 0) * WIDTH**-0.5)
            made.all_tied_weights_keys.pop("lm_head.weight")
    return made


def pretrained(kind: str, seed: int = 0, **changes: Any) -> Pretrained:
    """The model with its tokenizer."""
    return Pretrained(model(kind, seed, **changes), tokenizer(kind), f"tiny-{kind}", "0" * 16)


def rows(*lengths: tuple[int, int], prompt: int | None = 0, seed: int = 0) -> list[Row]:
    """Random rows: so many tokens for the encoder, so many for the decoder, with weights that differ."""
    draw = random.Random(seed)
    found = []
    for number, (given, answer) in enumerate(lengths):
        tokens = tuple(draw.randrange(3, 40) for _ in range(given + answer))
        weights = (0.0,) * given + tuple(1.0 - 0.1 * i for i in range(answer))
        found.append(Row(tokens, weights, prompt, f"row {number}", encoded=given))
    return found


def prompt_of(length: int, seed: int = 1) -> torch.Tensor:
    """A random soft prompt [P, D] that wants a gradient."""
    return torch.randn(length, WIDTH, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def write(folder: Path, kind: str) -> Path:
    """The model as a folder."""
    made = pretrained(kind)
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder

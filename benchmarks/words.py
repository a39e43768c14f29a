"""Made-up words, a tokenizer that knows them, and a random Llama: text of any length without a file to download."""

import random
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<eos>", "<unk>")
WIDE = 0.1  # five times the usual spread: with that one, logits are so alike that a wrong position hardly shows


def tokenizer(vocabulary: int) -> Any:
    """One token a word: `w2`, `w3`, and so on."""
    words = {word: i for i, word in enumerate([*SPECIAL, *(f"w{i}" for i in range(len(SPECIAL), vocabulary))])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>")


def text(count: int, vocabulary: int, draw: random.Random) -> str:
    """So many words."""
    return " ".join(f"w{draw.randrange(len(SPECIAL), vocabulary)}" for _ in range(count))


def llama(layers: int, width: int, vocabulary: int, *, positions: int = 2048, spread: float = 0.02) -> Any:
    """A random Llama with head size 64, as wide in its MLP as Llama is.

    `spread` is the standard deviation of its weights, by default the usual one; `WIDE` is for comparing logits.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        initializer_range=spread,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval().requires_grad_(False)

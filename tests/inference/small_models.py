"""Tiny random models of several kinds, and a tokenizer, for the tests of scoring and generation.

`initializer_range=0.2`: with the usual 0.02, wrong positions change logits by less than the tolerances that are common.
"""

import functools
from typing import Any

import torch
import transformers as t
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

EOS, BOS = 0, 1
VOCABULARY = 290
WIDTH: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "initializer_range": 0.2,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": EOS,
}


def llama(**options: Any) -> Any:
    config = {**COMMON, **WIDTH, "num_key_value_heads": 2, "max_position_embeddings": 256, **options}
    return _random(t.LlamaForCausalLM, t.LlamaConfig(**config))


def gpt2() -> Any:
    return _random(t.GPT2LMHeadModel, t.GPT2Config(**COMMON, n_embd=32, n_head=4, n_layer=2, n_positions=256))


def bloom() -> Any:
    """Positions by ALiBi, which the model works out from the 2-D mask."""
    return _random(t.BloomForCausalLM, t.BloomConfig(**COMMON, hidden_size=32, n_head=4, n_layer=2))


def gemma3(window: int) -> Any:
    """Every second layer sees so many last places only."""
    kinds = ["sliding_attention", "full_attention"]
    config = t.Gemma3TextConfig(
        **COMMON,
        **WIDTH,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=window,
        layer_types=kinds,
        max_position_embeddings=256,
    )
    return _random(t.Gemma3ForCausalLM, config)


def mistral(window: int) -> Any:
    config = t.MistralConfig(
        **COMMON, **WIDTH, num_key_value_heads=2, sliding_window=window, max_position_embeddings=256
    )
    return _random(t.MistralForCausalLM, config)


def mamba() -> Any:
    """A recurrent state instead of keys and values."""
    config = t.MambaConfig(**COMMON, hidden_size=32, num_hidden_layers=2, state_size=4)
    return _random(t.MambaForCausalLM, config)


def t5(factor: float = 1.0) -> Any:
    """With a factor of 1 it ends every text at once; with 2 it writes, and rounding shows 1e-4 in a logit."""
    config = t.T5Config(
        **{**COMMON, "decoder_start_token_id": EOS},
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        initializer_factor=factor,
    )
    return _random(t.T5ForConditionalGeneration, config)


def prompt(length: int, model: Any, seed: int = 3) -> torch.Tensor:
    """A soft prompt [P, D] of the size of word embeddings."""
    words = model.get_input_embeddings().weight
    return torch.randn(length, words.shape[1], generator=torch.Generator().manual_seed(seed)) * words.std().item()


@functools.cache
def tokenizer() -> Any:
    """Byte-level BPE of 290 tokens: every text has tokens, and every token stands for bytes of text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<eos>", "<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(
        ["the cat sat on the mat\nQuestion: what is that?\nAnswer: a hat of some other cat\n\n"] * 9, trainer
    )
    assert made.get_vocab_size() == VOCABULARY
    return t.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", bos_token="<bos>", pad_token="<eos>")


def sequences(lengths: list[int], common: int = 0, seed: int = 0) -> list[tuple[int, ...]]:
    """Random token ids of the given lengths, special ones left out, equal in the first `common`."""
    random = torch.Generator().manual_seed(seed)

    def draw(length: int) -> list[int]:
        return torch.randint(2, VOCABULARY, (length,), generator=random).tolist()

    start = draw(common)
    return [(*start, *draw(length - common)) for length in lengths]


def _random(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    return kind(config).eval().requires_grad_(False)

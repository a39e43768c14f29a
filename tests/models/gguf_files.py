"""GGUF files for tests, written from transformers' models as llama.cpp's converter writes them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

CORPUS = [
    "The capital of France is Paris. 12 345 apples cost 6789 coins, don't they?",
    "def f(x):\n    return x + 1\n\n\nThe café was naïve; 東京 and 大阪 are cities.",
    "hello hello hello world world The the THE then there they're",
] * 3
ODD = [
    "  12 345   6789", "a   1", "1234567", " 3.14159", "\n\n\n x\n", "\t\ttab  ", "naïve café", "Ａｂｃ ﬁ", "東京 123", "😀👩‍👧 ok",
    "<|end|>\n<|end|>x", "don't I'LL they've", "x=1;\r\n  y", "", " ", "     ", "½ Ⅷ ²", "e\u0301", "aaaaaaaaaaaa", "end ",
    "a  b   c", "The<|end|> The",
]  # fmt: skip
SMALL = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.9], "long_factor": [1.0, 2.0, 5.0, 9.0]}
# Of each architecture that can be converted: transformers' name, llama.cpp's, and a small configuration with nothing left at its default.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "llama", {**SMALL, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rms_norm_eps": 1e-4}),
    "llama with wide heads": ("llama", "llama", {**SMALL, "head_dim": 16, "tie_word_embeddings": True, "attention_bias": True}),
    "llama 3": ("llama", "llama", {**SMALL, "rope_parameters": LLAMA3}),
    "qwen2": ("qwen2", "qwen2", {**SMALL, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", "qwen3", {**SMALL, "head_dim": 16}),
    "gemma": ("gemma", "gemma", {**SMALL, "head_dim": 16}),
    "gemma2": ("gemma2", "gemma2", {**SMALL, "head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 16}),
    "gemma3": (
        "gemma3_text", "gemma3",
        {**SMALL, "num_hidden_layers": 7, "head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 16},
    ),
    "phi3": ("phi3", "phi3", {**SMALL, "tie_word_embeddings": False}),
    "phi3 long": (
        "phi3", "phi3",
        {**SMALL, "rope_parameters": LONG, "original_max_position_embeddings": 64, "max_position_embeddings": 256},
    ),
    "gpt2": ("gpt2", "gpt2", {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 128}),
}  # fmt: skip


def model(name: str, vocabulary: int = 300, **changes: Any) -> Any:
    """A small model with drawn weights, norms and biases among them."""
    model_type, _, fields = MODELS[name]
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type, vocab_size=vocabulary, **{"max_position_embeddings": 128, **fields, **tokens, **changes}
    )
    made = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            # Also what begins as ones or zeros: a norm or bias that is left out must show.
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1))
    made.tie_weights()
    return made


def byte_level(rule: Any, size: int = 300, marks: Sequence[str] = ("<|end|>",)) -> Tokenizer:
    """A byte-level BPE that was trained on the corpus cut by a rule."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = rule
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(marks), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def write(path: Path, source: Any, name: str, tokenizer: Mapping[str, Any], **extra: Any) -> Path:
    """Write a model and the facts of a tokenizer as a GGUF file.

    `extra` are further facts by their full names with `__` for a dot, and tensors by `tensor__` and theirs; None leaves one out.
    """
    _, architecture, _ = MODELS[name]
    writer = gguf.GGUFWriter(path, architecture)
    facts = _facts(source.config, architecture) | {f"tokenizer.ggml.{key}": value for key, value in tokenizer.items()}
    tensors = dict(_tensors(source, architecture))
    for key, value in extra.items():
        table = tensors if key.startswith("tensor__") else facts
        table[key.removeprefix("tensor__").replace("__", ".")] = value
    for key, value in facts.items():
        if value is not None:
            _add(writer, key, value)
    for key, value in tensors.items():
        if value is not None:
            data, kind = value if isinstance(value, tuple) else (value, None)
            writer.add_tensor(key, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def bpe_facts(tokenizer: Tokenizer, pre: str | None = "gpt-2", **more: Any) -> dict[str, Any]:
    """What a file says of a byte-level BPE whose marks are its first tokens."""
    parts = json.loads(tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    marks = {token["content"] for token in parts["added_tokens"]}
    merges = [" ".join(pair) for pair in parts["model"]["merges"]]
    types = [3 if token in marks else 1 for token in tokens]
    end = {"bos_token_id": 0, "eos_token_id": 0, "padding_token_id": 0}
    return {"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": types, "merges": merges, **end, **more}


def quantized(value: np.ndarray, kind: gguf.GGMLQuantizationType) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
    """A tensor in blocks, as the writer takes it."""
    return gguf.quantize(value, kind), kind


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def _facts(config: Any, architecture: str) -> dict[str, Any]:
    if architecture == "gpt2":
        sizes = {"context_length": config.n_positions, "block_count": config.n_layer, "embedding_length": config.n_embd}
        heads = {"attention.head_count": config.n_head, "attention.layer_norm_epsilon": config.layer_norm_epsilon}
        return {
            f"gpt2.{key}": value for key, value in (sizes | {"feed_forward_length": 4 * config.n_embd} | heads).items()
        }
    rope = config.rope_parameters
    full = rope.get("full_attention", rope)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    facts = {
        "context_length": config.max_position_embeddings, "block_count": config.num_hidden_layers,
        "embedding_length": config.hidden_size, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps, "rope.freq_base": full["rope_theta"],
        "rope.dimension_count": head, "attention.key_length": head, "attention.value_length": head,
    }  # fmt: skip
    if architecture in ("gemma2", "gemma3"):
        facts["attention.sliding_window"] = config.sliding_window
    if architecture == "gemma2":
        caps = ("attn_logit_softcapping", "final_logit_softcapping")
        facts |= {cap: getattr(config, cap) for cap in caps}
    if full["rope_type"] == "longrope":
        facts["rope.scaling.original_context_length"] = full["original_max_position_embeddings"]
    return {f"{architecture}.{key}": value for key, value in facts.items()}


PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm", "ln_2": "ffn_norm",
}  # fmt: skip
SANDWICH = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
OUTSIDE = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
}  # fmt: skip


def _tensors(source: Any, architecture: str) -> dict[str, np.ndarray]:
    """The tensors as llama.cpp's converter stores them; a tied head is left out."""
    parts = PARTS | (SANDWICH if architecture in ("gemma2", "gemma3") else {})
    config, tensors = source.config, {}
    for name, value in source.state_dict().items():
        module, _, suffix = name.rpartition(".")
        if module == "lm_head" and config.tie_word_embeddings:
            continue
        if module in OUTSIDE:
            stored = f"{OUTSIDE[module]}.{suffix}"
        else:
            _, _, block, part = module.split(".", 3)
            stored = f"blk.{block}.{parts[part]}.{suffix}"
        if architecture.startswith("gemma") and "norm" in stored:
            value = value + 1
        if architecture == "llama" and ("attn_q" in stored or "attn_k" in stored):
            heads = config.num_attention_heads if "attn_q" in stored else config.num_key_value_heads
            value = (
                value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
                .transpose(1, 2)
                .reshape(value.shape)
            )
        if architecture == "gpt2" and value.ndim == 2 and stored.startswith("blk"):
            value = value.T
        tensors[stored] = value.contiguous().numpy()
    rope = {} if architecture == "gpt2" else config.rope_parameters
    if rope.get("rope_type") == "llama3":
        tensors["rope_freqs.weight"] = _divisors(rope, config.head_dim)
    for length in ("short", "long"):
        if f"{length}_factor" in rope:
            tensors[f"rope_factors_{length}.weight"] = np.array(rope[f"{length}_factor"], dtype=np.float32)
    return tensors


def _divisors(rope: Mapping[str, Any], head: int) -> np.ndarray:
    """What llama.cpp divides each frequency by, in its own words: three cases."""
    low, high = 8192 / rope["low_freq_factor"], 8192 / rope["high_freq_factor"]
    divisors = []
    for i in range(0, head, 2):
        wavelength = 2 * np.pi * rope["rope_theta"] ** (i / head)
        if wavelength < high:
            divisors.append(1.0)
        elif wavelength > low:
            divisors.append(rope["factor"])
        else:
            smooth = (8192 / wavelength - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"]
            )
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)

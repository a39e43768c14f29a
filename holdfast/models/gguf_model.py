"""Turn the metadata and tensors of a GGUF file into transformers' configuration and weights."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from holdfast.models.gguf_file import GgufFile

# llama.cpp's name of a fact -> the field of transformers' configuration.
DECODER = {
    "context_length": "max_position_embeddings", "block_count": "num_hidden_layers", "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}  # fmt: skip
GPT2 = {
    "context_length": "n_positions", "block_count": "n_layer", "embedding_length": "n_embd", "feed_forward_length": "n_inner",
    "attention.head_count": "n_head", "attention.layer_norm_epsilon": "layer_norm_epsilon",
}  # fmt: skip
WINDOW = {"attention.sliding_window": "sliding_window"}
CAPS = {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}
# Facts that are used below, or repeat others. Any further number may change what the model computes, and is refused.
KNOWN = {
    "vocab_size", "rope.dimension_count", "rope.freq_base", "rope.freq_base_swa", "rope.scaling.type", "rope.scaling.factor",
    "rope.scaling.original_context_length", "rope.scaling.attn_factor", "rope.scaling.finetuned", "attention.value_length",
    "attention.causal", "tensor_data_layout", "use_parallel_residual", "attention.sliding_window_pattern",
    "attention.key_length", "attention.value_length_swa", "attention.key_length_swa", "rope.dimension_count_swa",
}  # fmt: skip
# Factors by which the models of the Llama 3 family stretch their slow frequencies; the other three numbers are common to them.
LLAMA3_FACTORS = (8.0, 32.0, 16.0, 4.0)
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# Of two roundings of the same matrix the difference is a fraction of the matrix; that of two matrices is larger than either.
SAME = 0.5
SAMPLE = 4096  # rows that are compared


@dataclass(frozen=True)
class Conversion:
    """An architecture: transformers' name, the facts of its configuration, and what llama.cpp did to its tensors."""

    model_type: str
    facts: Mapping[str, str]
    plus_one: bool = False  # norms are stored as 1 + weight
    permuted: bool = False  # rows of q and k lie in pairs, for llama.cpp's rotary layout
    transposed: bool = False  # linear layers are stored [out, in], and transformers has [in, out]


CONVERSIONS = {
    "llama": Conversion("llama", DECODER, permuted=True),
    "qwen2": Conversion("qwen2", DECODER),
    "qwen3": Conversion("qwen3", DECODER),
    "gemma": Conversion("gemma", DECODER, plus_one=True),
    "gemma2": Conversion("gemma2", DECODER | WINDOW | CAPS, plus_one=True),
    "gemma3": Conversion("gemma3_text", DECODER | WINDOW, plus_one=True),
    "phi3": Conversion("phi3", DECODER | WINDOW),
    "gpt2": Conversion("gpt2", GPT2, transposed=True),
}


def conversion_of(file: GgufFile) -> Conversion:
    """Return how the file's architecture is converted.

    Raises:
        ValueError: it is none that can be.
    """
    if file.architecture not in CONVERSIONS:
        raise ValueError(
            f"{file.path}: its architecture is {file.architecture or 'not named'}, which cannot be converted; those that can: "
            f"{', '.join(CONVERSIONS)}. Use the model's folder or hub id instead"
        )
    return CONVERSIONS[file.architecture]


def config_of(file: GgufFile) -> Any:
    """Return transformers' configuration of the model in a file.

    Raises:
        ValueError: the file lacks a number that the architecture needs, or holds one whose meaning is not known here.
    """
    conversion = conversion_of(file)
    prefix = f"{file.architecture}."
    for key, value in file.metadata.items():
        name = key.removeprefix(prefix)
        known = name in KNOWN or name in conversion.facts
        if key.startswith(prefix) and not known and not isinstance(value, str) and value:
            raise ValueError(
                f"{file.path}: says {key} = {value}, which holdfast does not know; use the model's folder instead"
            )
    fields: dict[str, Any] = {}
    for name, field in conversion.facts.items():
        value = file.fact(name)
        if isinstance(value, list):
            if len(set(value)) > 1:
                raise ValueError(
                    f"{file.path}: {name} differs from layer to layer, which {conversion.model_type} cannot have"
                )
            value = value[0]
        if value is not None:
            fields[field] = shortest(value) if isinstance(value, float) else value
    missing = [
        name
        for name in ("context_length", "block_count", "embedding_length", "attention.head_count")
        if file.fact(name) is None
    ]
    if missing or "token_embd.weight" not in file.tensors:
        raise ValueError(
            f"{file.path}: lacks {prefix}{missing[0]}" if missing else f"{file.path}: lacks token_embd.weight"
        )
    heads = fields.get("num_attention_heads")
    if heads:
        fields.setdefault("num_key_value_heads", heads)
        fields.setdefault("head_dim", file.fact("rope.dimension_count") if conversion.permuted else None)
        fields["head_dim"] = fields["head_dim"] or fields["hidden_size"] // heads
        fields["rope_parameters"] = rope = _rope(file, fields)
        if rope.get("rope_type") == "longrope":
            fields["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
    if file.architecture in ("gemma2", "gemma3"):
        # llama.cpp knows the two largest of these by their number of layers, too: their queries are scaled by another number.
        largest = {"gemma2": 46, "gemma3": 62}[file.architecture] == fields["num_hidden_layers"]
        fields["query_pre_attn_scalar"] = fields["hidden_size"] // heads if largest else fields["head_dim"]
    if "blk.0.attn_output.bias" in file.tensors and conversion.permuted:
        fields["attention_bias"] = True
    # By the embedding: a vocabulary may be padded.
    fields["vocab_size"] = file.tensors["token_embd.weight"].data.shape[0]
    fields["tie_word_embeddings"] = head_of(file) is None
    for token, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        fields[f"{token}_token_id"] = file.metadata.get(f"tokenizer.ggml.{key}_token_id")
    matrix = "blk.0.attn_output.weight"  # any matrix: quantised or not, they are all of one sort
    stored = file.tensor(matrix, slice(0, 1)).dtype if matrix in file.tensors else torch.float32
    return AutoConfig.for_model(conversion.model_type, dtype=str(stored).removeprefix("torch."), **fields)


def shortest(value: float) -> float:
    """Return the shortest decimal number that a float32 of a file may have been written for."""
    return float(str(np.float32(value)))


def _rope(file: GgufFile, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the rotary positions.

    Raises:
        ValueError: they are scaled in a way that is not known here.
    """
    # llama.cpp's default, for files that leave it out.
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": shortest(file.fact("rope.freq_base") or 10000.0)}
    rotated = file.fact("rope.dimension_count") or fields["head_dim"]
    if rotated != fields["head_dim"]:
        rope["partial_rotary_factor"] = rotated / fields["head_dim"]
    scaling, factor = str(file.fact("rope.scaling.type") or "none"), shortest(file.fact("rope.scaling.factor") or 1.0)
    if "rope_freqs.weight" in file.tensors:
        rope |= _llama3(file, rope["rope_theta"], rotated)
    elif "rope_factors_short.weight" in file.tensors:
        original = file.fact("rope.scaling.original_context_length") or fields["max_position_embeddings"]
        rope |= {"rope_type": "longrope", "original_max_position_embeddings": original}
        rope["factor"] = fields["max_position_embeddings"] / original
        for length in ("short", "long"):
            divisors = file.tensor(f"rope_factors_{length}.weight").tolist()
            rope[f"{length}_factor"] = [shortest(value) for value in divisors]
    elif scaling in ("linear", "yarn"):
        rope |= {"rope_type": scaling, "factor": factor}
        if original := file.fact("rope.scaling.original_context_length"):
            rope["original_max_position_embeddings"] = original
    elif scaling != "none":
        raise ValueError(
            f"{file.path}: its positions are scaled by {scaling!r}, which cannot be converted; use the model's folder"
        )
    if file.architecture == "gemma3":
        local = {"rope_type": "default", "rope_theta": shortest(file.fact("rope.freq_base_swa") or 10000.0)}
        return {"full_attention": rope, "sliding_attention": local}
    return rope


def _llama3(file: GgufFile, theta: float, rotated: int) -> dict[str, Any]:
    """Return the scaling of Llama 3's positions, whose file holds what came of it: a divisor for each frequency.

    Raises:
        ValueError: the divisors are not those of a known scaling.
    """
    divisors = file.tensor("rope_freqs.weight").double()
    wavelengths = 2 * math.pi * theta ** (torch.arange(0, rotated, 2, dtype=torch.float64) / rotated)
    low, high, original = (
        LLAMA3["low_freq_factor"],
        LLAMA3["high_freq_factor"],
        LLAMA3["original_max_position_embeddings"],
    )
    smooth = ((original / wavelengths - low) / (high - low)).clamp(0, 1)
    for factor in LLAMA3_FACTORS:
        if torch.allclose(divisors, 1 / ((1 - smooth) / factor + smooth), rtol=1e-3):
            return {"rope_type": "llama3", "factor": factor, **LLAMA3}
    raise ValueError(
        f"{file.path}: its rope_freqs.weight is of no scaling that is known here; use the model's folder instead"
    )


def head_of(file: GgufFile) -> str | None:
    """Return the name of the head's tensor; None where head and embedding are one matrix, be it stored twice in two roundings."""
    if "output.weight" not in file.tensors:
        return None
    embedding, head = file.tensors["token_embd.weight"], file.tensors["output.weight"]
    if embedding.data.shape[0] != head.data.shape[0]:
        return "output.weight"
    rows = slice(None, None, max(1, embedding.data.shape[0] // SAMPLE))
    first, second = file.tensor("token_embd.weight", rows).double(), file.tensor("output.weight", rows).double()
    whole = (
        max(file.bits("token_embd.weight"), file.bits("output.weight")) >= 16
        and embedding.tensor_type == head.tensor_type
    )
    # Two matrices without rounding are one only where they are equal: a head that was trained a little is not the embedding.
    limit = 0.0 if whole else SAME * float(second.norm())
    return None if float((first - second).norm()) <= limit else "output.weight"


def weights(file: GgufFile, config: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight of the model by transformers' name, one at a time.

    Raises:
        ValueError: the file lacks one, has one of another shape, or holds some that the model does not have; before the first.
    """
    conversion = conversion_of(file)
    sources = _sources(file, config, conversion)
    heads = {"attn_q": getattr(config, "num_attention_heads", 0), "attn_k": getattr(config, "num_key_value_heads", 0)}
    for name, (source, shape) in sources.items():
        value, part = file.tensor(source), source.split(".")[-2]
        if conversion.plus_one and part.endswith("norm"):
            value = value.float() - 1
        if conversion.permuted and part in heads:
            value = value.unflatten(0, (heads[part], -1, 2)).transpose(1, 2).reshape(value.shape)
        if conversion.transposed and value.ndim == 2 and source.startswith("blk."):
            value = value.T.contiguous()
        if tuple(value.shape) != shape:
            raise ValueError(
                f"{file.path}: {source} is {list(value.shape)}, and {conversion.model_type} needs {list(shape)} ({name})"
            )
        yield name, value


def _sources(file: GgufFile, config: Any, conversion: Conversion) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Map each weight of the model to its tensor in the file, and to its shape."""
    import gguf

    with torch.device("meta"):  # names and shapes alone
        skeleton = AutoModelForCausalLM.from_config(config).state_dict()
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == file.architecture)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    sources, used = {}, {"output.weight", "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
    for name, empty in skeleton.items():
        module, _, suffix = name.rpartition(".")
        # The package's map has no head for architectures that always tie it.
        source = f"output.{suffix}" if module == "lm_head" else f"{names.get_name(module)}.{suffix}"
        if module == "lm_head" and config.tie_word_embeddings:
            continue
        if module == "model.embed_tokens" or module == "transformer.wte":
            source = finer_embedding(file, tied=config.tie_word_embeddings)
        if source not in file.tensors:
            raise ValueError(f"{file.path}: lacks {source}, which {conversion.model_type} needs ({name})")
        sources[name] = (source, tuple(empty.shape))
        used |= {source, "token_embd.weight"}
    if extra := sorted(file.tensors.keys() - used):
        raise ValueError(
            f"{file.path}: holds {', '.join(extra[:3])}, which {conversion.model_type} does not have; use the model's folder instead"
        )
    return sources


def finer_embedding(file: GgufFile, *, tied: bool) -> str:
    """Return the tensor to take the embedding from: of two roundings of a tied matrix the finer."""
    copies = ["token_embd.weight", *(["output.weight"] if tied and "output.weight" in file.tensors else [])]
    return max(copies, key=file.bits)

"""Tiny random models of many architectures, rows of random tokens, and the comparison that the parity tests are made of.

`initializer_range=0.2`: with the default of 0.02 attention is nearly uniform, and a wrong position changes a logit by less
than the tolerances that are common in the field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor

from holdfast.prefix.packing import label_tensors
from holdfast.row import Row

VOCABULARY, WIDTH = 97, 32
LLAMA: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
GPT: dict[str, Any] = {"n_embd": WIDTH, "n_layer": 3, "n_head": 4, "n_positions": 128}
DROPOUT = {"attention_dropout": 0.0, "hidden_dropout": 0.0}
PACKS: dict[str, dict[str, Any]] = {
    "Llama": LLAMA,
    "Qwen2": LLAMA,
    "Qwen3": LLAMA | {"head_dim": 8},
    "Mistral": LLAMA | {"sliding_window": 24},
    "Gemma2": LLAMA | {"head_dim": 8, "sliding_window": 24, "query_pre_attn_scalar": 8},
    "Gemma3": LLAMA | {"head_dim": 8, "sliding_window": 24, "query_pre_attn_scalar": 8},
    "Olmo2": LLAMA,
    "Phi": LLAMA,
    "GPT2": GPT,
    "GPTNeoX": LLAMA | DROPOUT,
    "OPT": LLAMA | {"ffn_dim": 48, "word_embed_proj_dim": WIDTH},
}
ALONE: dict[str, dict[str, Any]] = {
    "Mamba": {"hidden_size": WIDTH, "num_hidden_layers": 3, "state_size": 8, "time_step_rank": 4},
    "Bloom": {"hidden_size": WIDTH, "n_layer": 3, "n_head": 4},
    "T5": {"d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0},
}
CLASSES = {
    "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "GPT2": ("GPT2Config", "GPT2LMHeadModel"),
    "T5": ("T5Config", "T5ForConditionalGeneration"),
}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def tiny(name: str, attention: str | None = None, seed: int = 0, **changes: Any) -> Any:
    """A random model in evaluation mode; its biases and norms are random too."""
    config_name, model_name = CLASSES.get(name, (f"{name}Config", f"{name}ForCausalLM"))
    fields = {**(PACKS | ALONE)[name], "vocab_size": VOCABULARY, "initializer_range": 0.2, **SPECIAL, **changes}
    config = getattr(transformers, config_name)(**fields)
    if attention:
        config._attn_implementation = attention
    torch.manual_seed(seed)
    model = getattr(transformers, model_name)(config).eval()
    with torch.no_grad():
        for vector in (p for p in model.parameters() if p.ndim == 1):
            vector += 0.2 * torch.randn_like(vector)
    return model


def rows_of(lengths: Sequence[int], prompt: int | None = 0, seed: int = 0, labels: int = 2) -> list[Row]:
    """Random rows of T tokens; the last ones are predicted, with weights that differ."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for number, length in enumerate(lengths):
        tokens = torch.randint(3, VOCABULARY, (length,), generator=random).tolist()
        weights = [0.0] * (length - labels) + [1.0 - 0.3 * place for place in range(labels)]
        found.append(Row(tuple(tokens), tuple(weights), prompt, f"row {number}"))
    return found


def prompt_of(length: int, seed: int = 1, width: int = WIDTH) -> Tensor:
    """A random soft prompt [P, D] of the size of the embeddings, that wants a gradient."""
    vectors = torch.randn(length, width, generator=torch.Generator().manual_seed(seed))
    return (0.2 * vectors).requires_grad_()


@dataclass
class Differences:
    """Largest absolute difference of the logits; largest differences of gradients relative to the largest gradient."""

    logits: float
    prompt: float
    weight: float

    @property
    def worst(self) -> float:
        return max(self.logits, self.prompt, self.weight)

    def __str__(self) -> str:
        return f"logits {self.logits:.1e}, prompt gradient {self.prompt:.1e}, weight gradients {self.weight:.1e}"


def compare(one: Any, other: Any, model: Any, rows: Sequence[Row], prompts: Sequence[Tensor]) -> Differences:
    """Two `label_logits(model, rows, prompts)` on the same rows: logits, and the gradients of the same loss."""
    first, second = (_results(function, model, rows, prompts) for function in (one, other))
    logits, prompt_gradients, weight_gradients = (
        [(a, b) for a, b in zip(x, y, strict=True)] for x, y in zip(first, second, strict=True)
    )
    scale = max((float(a.abs().max()) for a, _ in weight_gradients), default=1.0)
    return Differences(
        max(float((a - b).abs().max()) for a, b in logits),
        max((float((a - b).abs().max() / a.abs().max()) for a, b in prompt_gradients if a.numel()), default=0.0),
        max((float((a - b).abs().max()) for a, b in weight_gradients), default=0.0) / scale,
    )


def _results(function: Any, model: Any, rows: Sequence[Row], prompts: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
    labels, weights, _ = label_tensors(rows)
    wanted = [*prompts, *(p for p in model.parameters() if p.requires_grad)]
    for parameter in wanted:
        parameter.grad = None
    logits = function(model, rows, prompts)
    loss = torch.dot(torch.nn.functional.cross_entropy(logits, labels, reduction="none"), weights)
    if loss.requires_grad:
        loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in wanted]
    return [logits.detach()], gradients[: len(prompts)], gradients[len(prompts) :]

"""A double of vLLM, as its published source reads: what holdfast calls of it, with the names, defaults and limits there.

It computes with transformers on the processor, one request at a time, and refuses what vLLM refuses. A name that vLLM does not have is a
TypeError here, as there.
"""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass
class SamplingParams:
    """The fields of `vllm.SamplingParams` that stand in its documentation, with its checks of them."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    skip_reading_prefix_cache: bool | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError("max_tokens must be at least 1")
        if not 0 <= self.temperature <= 2:
            raise ValueError("temperature must be in [0, 2]")
        if self.temperature == 0 and self.n > 1:
            raise ValueError("n must be 1 when using greedy sampling")
        if self.stop and not self.detokenize:
            raise ValueError("stop strings are only supported when detokenize is True")
        if self.skip_reading_prefix_cache is None:
            self.skip_reading_prefix_cache = self.prompt_logprobs is not None


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: Any
    finish_reason: str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int] | None
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list[CompletionOutput]
    finished: bool = True


@dataclass
class LLM:
    """`vllm.LLM`; the requests that were made are kept in `asked`."""

    model: str
    tokenizer: str | None = None
    trust_remote_code: bool = False
    tensor_parallel_size: int = 1
    dtype: str = "auto"
    seed: int | None = None
    gpu_memory_utilization: float = 0.9
    enforce_eager: bool = False
    enable_prompt_embeds: bool = False
    max_model_len: int | None = None
    asked: list[tuple[dict[str, Any], SamplingParams]] = field(default_factory=list)

    def __post_init__(self) -> None:
        loaded: Any = AutoModelForCausalLM.from_pretrained(self.model, dtype=getattr(torch, self.dtype))
        self.computes, self.reads = loaded.eval(), AutoTokenizer.from_pretrained(self.tokenizer or self.model)
        self.room = self.max_model_len or self.computes.config.max_position_embeddings
        made.append(self)

    def generate(
        self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True, lora_request: Any = None
    ) -> list[RequestOutput]:
        prompts = prompts if isinstance(prompts, list) else [prompts]
        settings = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
        assert len(settings) == len(prompts), "The lengths of prompts and params must be the same."
        return [self._answer(prompt, own) for prompt, own in zip(prompts, settings, strict=True)]

    def _answer(self, prompt: dict[str, Any], settings: SamplingParams) -> RequestOutput:
        self.asked.append((prompt, settings))
        embed, tokens = self.computes.get_input_embeddings(), prompt.get("prompt_token_ids")
        if tokens is None and not self.enable_prompt_embeds:
            raise ValueError("You must set `--enable-prompt-embeds` to input `prompt_embeds`.")
        if tokens is None and settings.prompt_logprobs is not None:
            raise ValueError("prompt_logprobs is not compatible with prompt embeds.")
        with torch.inference_mode():
            vectors = embed(torch.tensor(tokens)) if tokens is not None else prompt["prompt_embeds"]
            if len(vectors) + 1 > self.room:
                raise ValueError(f"The decoder prompt (length {len(vectors)}) is longer than the maximum model length")
            records = self._records(tokens, vectors) if tokens is not None and settings.prompt_logprobs else None
            new = self._written(vectors, embed, settings)
        text = self.reads.decode(new, skip_special_tokens=True)
        return RequestOutput(tokens, records, [CompletionOutput(0, text, new, None, None, "stop")])

    def _records(self, tokens: list[int], vectors: torch.Tensor) -> list[dict[int, Logprob] | None]:
        logprobs = self.computes(inputs_embeds=vectors[None]).logits[0].float().log_softmax(-1)
        records: list[dict[int, Logprob] | None] = [None]  # Nothing is said of the first token.
        for place, token in enumerate(tokens[1:]):
            row = logprobs[place]
            best = int(row.argmax())
            rank = int((row > row[token]).sum()) + 1
            records.append({best: Logprob(float(row[best]), 1), token: Logprob(float(row[token]), rank)})
        return records

    def _written(self, vectors: torch.Tensor, embed: Any, settings: SamplingParams) -> list[int]:
        ends, new = {self.reads.eos_token_id, *(settings.stop_token_ids or ())}, list[int]()
        draw = torch.Generator().manual_seed(settings.seed) if settings.seed is not None else None
        while len(new) < (settings.max_tokens or 1) and len(vectors) < self.room:
            logits = self.computes(inputs_embeds=vectors[None]).logits[0, -1].float()
            shares = (logits / settings.temperature).softmax(-1) if settings.temperature else None
            token = int(logits.argmax() if shares is None else torch.multinomial(shares, 1, generator=draw))
            new.append(token)
            vectors = torch.cat([vectors, embed(torch.tensor([token]))])
            stops = [settings.stop] if isinstance(settings.stop, str) else settings.stop or []
            if token in ends or any(stop in self.reads.decode(new) for stop in stops):
                break
        return new


made: list[LLM] = []
"""Every model that was opened."""


def module() -> ModuleType:
    """Return a module to stand where `import vllm` looks."""
    double = ModuleType("vllm")
    double.__dict__.update(LLM=LLM, SamplingParams=SamplingParams)
    return double

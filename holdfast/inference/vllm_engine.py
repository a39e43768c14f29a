"""vLLM as an engine: token ids in, finished texts and log-likelihoods out, by its offline class `vllm.LLM`. Needs `holdfast[vllm]`.

vLLM gives no logits, so that what chooses or combines tokens here (beams, decodings, streams) is refused. Its prefix cache serves texts
that are written: what questions have in common is computed once. Where log-probabilities of a prompt are asked for, which rank choices,
vLLM reads nothing from that cache. A soft prompt goes as `prompt_embeds`; of such a prompt vLLM gives no log-probabilities.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.inference.engine import Continuation, PromptBatch
from holdfast.inference.sampling import Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.inference.stopping import Stops
from holdfast.row import Row

PART = 512  # Rows that are asked together: vLLM returns a record for every token of each.
PRECISION = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
OTHERWISE = "leave --engine vllm out for this"
NO_RANKS = (
    f"vLLM gives no log-probabilities behind a soft prompt (`prompt_embeds`), by which choices are ranked; {OTHERWISE}"
)


@dataclass(slots=True)
class VllmEngine:
    """A model that vLLM computes.

    Attributes:
        llm: The `vllm.LLM`.
        vocabulary: V: the size of the model's output.
        vectors: A soft prompt `[P, D]`, or None.
        embed: Turns token ids `[T]` into the model's input vectors `[T, D]`; needed with a soft prompt alone.
    """

    llm: Any
    vocabulary: int
    vectors: Tensor | None = None
    embed: Callable[[Tensor], Tensor] | None = None

    def running(self) -> AbstractContextManager[object]:
        """Return an empty context: vLLM computes elsewhere, and never with gradients."""
        return nullcontext()

    def label_logits(self, rows: Sequence[Row]) -> Tensor:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"vLLM returns probabilities of chosen tokens and no logits; {OTHERWISE}")

    def score(self, rows: Sequence[Row], progress: Callable[[int], None] | None = None) -> list[LogLikelihood]:
        """Return each row's log-likelihood of the tokens that carry a weight, by `prompt_logprobs`; equal rows are asked once.

        Raises:
            ValueError: a soft prompt is attached, or a row predicts its first token from nothing.
        """
        from vllm import SamplingParams

        if self.vectors is not None and rows:
            raise ValueError(NO_RANKS)
        # One new token, which is not looked at: vLLM writes at least one.
        settings = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1, detokenize=False)
        distinct: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
        for number, row in enumerate(rows):
            distinct.setdefault((tuple(row.tokens), tuple(row.labels)), []).append(number)
        scored = [LogLikelihood(0.0, True, 0)] * len(rows)
        keys = list(distinct)
        for begin in range(0, len(keys), PART):
            part = keys[begin : begin + PART]
            answers = self.llm.generate(
                [{"prompt_token_ids": list(tokens)} for tokens, _ in part], settings, use_tqdm=False
            )
            for (tokens, labels), answer in zip(part, answers, strict=True):
                value = _likelihood(tokens, labels, answer.prompt_logprobs)
                for number in distinct[tokens, labels]:
                    scored[number] = value
                if progress:
                    progress(len(distinct[tokens, labels]))
        return scored

    def batches(self, prompts: Sequence[tuple[int, ...]], limit: int, width: int) -> Iterator[PromptBatch]:
        """Refuse, as `label_logits`."""
        raise ValueError(f"vLLM chooses tokens itself; beams and techniques of decoding need logits, so {OTHERWISE}")

    def start(self, batch: PromptBatch, room: int) -> tuple[Continuation, Tensor]:
        """Refuse, as `label_logits`."""
        raise ValueError(f"vLLM returns no logits; {OTHERWISE}")

    def finished(
        self, prompts: Sequence[tuple[int, ...]], stops: Stops, sampling: Sampling
    ) -> Iterator[tuple[tuple[int, ...], list[int]]] | None:
        """Yield (prompt, new tokens), greedy or drawn; the samples of a prompt follow each other. None of beams, which are refused.

        Sample j of a prompt is drawn by `seed` + j and the prompt, as everywhere here, but by vLLM's generator: other texts than those
        that transformers draws.
        """
        if sampling.num_beams > 1:
            return None
        return self._written(prompts, stops, sampling)

    def _written(
        self, prompts: Sequence[tuple[int, ...]], stops: Stops, sampling: Sampling
    ) -> Iterator[tuple[tuple[int, ...], list[int]]]:
        requests: list[tuple[tuple[int, ...], int]] = []
        for tokens in prompts:
            requests += [(tokens, sampling.seed + j) for j in range(sampling.samples)]
        for begin in range(0, len(requests), PART):
            part = requests[begin : begin + PART]
            settings = [_settings(tokens, seed, stops, sampling) for tokens, seed in part]
            answers = self.llm.generate([self._prompt(tokens) for tokens, _ in part], settings, use_tqdm=False)
            for (tokens, _), answer in zip(part, answers, strict=True):
                yield tokens, stops.until_end(answer.outputs[0].token_ids)

    def _prompt(self, tokens: tuple[int, ...]) -> dict[str, Any]:
        if self.vectors is None:
            return {"prompt_token_ids": list(tokens)}
        assert self.embed is not None
        return {"prompt_embeds": torch.cat([self.vectors, self.embed(torch.tensor(tokens)).to(self.vectors)])}


def _settings(tokens: Sequence[int], seed: int, stops: Stops, sampling: Sampling) -> Any:
    """Return vLLM's settings of one continuation."""
    from vllm import SamplingParams

    # By the text too: with one seed for all, different questions would be answered by the same draws.
    number = int.from_bytes(hashlib.sha256(f"{seed} {list(tokens)}".encode()).digest()[:4], "big") >> 1
    return SamplingParams(
        max_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=number if sampling.draws else None,
        # Only to end sooner: what a text is, is decided by the same `Stops` for every engine.
        stop=list(stops.strings) or None,
        stop_token_ids=sorted(stops.eos),
        skip_special_tokens=True,
    )


def _likelihood(tokens: Sequence[int], labels: Sequence[int], records: Sequence[Any]) -> LogLikelihood:
    """Return the likelihood of the labels from vLLM's records: for each place a mapping from tokens to log-probability and rank."""
    if labels and labels[0] == 0:
        raise ValueError("a row predicts its first token from nothing; begin it with a beginning-of-sequence token")
    chosen = [records[label][tokens[label]] for label in labels]
    return LogLikelihood(
        sum(record.logprob for record in chosen), all(record.rank == 1 for record in chosen), len(chosen)
    )

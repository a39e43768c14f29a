"""A pretrained model with its tokenizer as a language model: texts in, texts and likelihoods out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from holdfast.inference.engine import Engine
from holdfast.inference.generation import generate
from holdfast.inference.given_text import read_documents
from holdfast.inference.language_model import Origin, Progress, ReadDocument, check_texts
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.inference.stopping import Stops
from holdfast.inference.transformers_engine import TransformersEngine
from holdfast.models.loading import Pretrained
from holdfast.prefix.attached import Prompt, as_attached
from holdfast.row import Row
from holdfast.tasks.text.pieces import counts
from holdfast.tasks.text.tokenization import encode_pairs, encode_prompt

UNLIMITED = 2**29  # A model with room for so many tokens has no end.


@dataclass(slots=True, eq=False)
class Model:
    """A pretrained model, with a soft prompt attached or not, that generates and scores text.

        model = holdfast.load("run")
        model.generate(["Question: how much is 2 + 2? Answer:"], Sampling(max_new_tokens=8, stop=(".",)))
        model.loglikelihood([("The capital of France is", " Paris"), ("The capital of France is", " Rome")])

    Give it many texts at once: what they have in common (the soft prompt, the same demonstrations) is computed once. A
    result never depends on the batch, the order or the other texts.

    Attributes:
        pretrained: The model and its tokenizer; `pretrained.model` is the plain transformers model, without the prompt.
        prompt: What is attached before every text: a soft prompt's vectors `[P, D]`, or a deep prefix; None where nothing is.
        batch_tokens: The most places (rows x length) computed together: more is faster, and takes more memory.
        truncated: The number of texts so far that were too long and lost the beginning of their input.
        decode: A technique that puts an engine around the model's, and so changes what is scored and written (`holdfast.decoding`).
    """

    pretrained: Pretrained
    prompt: Prompt | None = None
    batch_tokens: int = 8192
    truncated: int = 0
    decode: Callable[[Engine], Engine] | None = None

    @property
    def engine(self) -> Engine:
        """The engine that computes logits for this model's token ids."""
        engine = TransformersEngine(self.pretrained.model, self.prompt, self.batch_tokens)
        return engine if self.decode is None else self.decode(engine)

    @property
    def origin(self) -> Origin:
        """Return the fingerprint of the weights, and how and where they are computed."""
        loading = self.pretrained.loading
        return Origin(self.pretrained.hash, loading.dtype, loading.device, self.prompt is not None)

    def check_ranks(self) -> None:
        """Refuse nothing: every text has a log-likelihood."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, which also knows the chat template."""
        return self.pretrained.tokenizer

    @property
    def room(self) -> int:
        """The positions that what is attached leaves."""
        return self.pretrained.max_length - (0 if self.prompt is None else len(self.prompt))

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        """Return the log-likelihood of each (context, continuation)'s continuation, spaces included.

        Both are tokenised as training does. A context too long for the model loses its beginning. An empty one stands for
        the beginning of a text.

        Where the model has an encoder and sentinel tokens (T5, mT5), an answer counts with and without the opening one before
        it, as `generate` takes it off: the likelihood is the sum of both.

        Args:
            pairs: Texts.
            progress: Called with the number of pairs finished since the last call.

        Raises:
            ValueError: a continuation is empty, or longer than the model.
        """
        # A context is tokenised once for all of its continuations, which are most often the choices of one question.
        by_context: dict[str, list[int]] = {}
        for number, (context, _) in enumerate(pairs):
            by_context.setdefault(context, []).append(number)
        rows: list[Row] = [Row((), ())] * len(pairs)
        for context, numbers in by_context.items():
            for number, row in zip(numbers, self._rows(context, [pairs[i][1] for i in numbers]), strict=True):
                rows[number] = row
        self.truncated += sum(row.cut > 0 for row in rows)
        if self._sentinels is None:
            return self.score_rows(rows, progress=progress)
        scores = self.score_rows([*rows, *(_opened(row, self._sentinels[0]) for row in rows)])
        if progress:
            progress(len(rows))
        return [_either(*ways) for ways in zip(scores[: len(rows)], scores[len(rows) :], strict=True)]

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """Return the continuations of each text, without the text: greedy, by beam search, or drawn.

        A continuation ends at an end-of-sequence token, before the first stop string, or after so many new tokens. A text too long for
        the model loses its beginning. Texts by beam search are its best finished ones; N samples of one text stand side by side.

        Args:
            texts: Prompts.
            sampling: How tokens are chosen, and where a text ends.
            progress: Called with the number of texts finished since the last call.

        Raises:
            ValueError: `texts` is one text, or the model has no room for a prompt beside the new tokens.
        """
        check_texts(texts)
        prompts = [self._prompt(text, sampling.max_new_tokens) for text in texts]
        return self.generate_tokens(prompts, sampling, progress=progress)

    def rolling(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[float]:
        """Return the log-likelihood of each whole text, the first token behind the beginning- (or end-) of-sequence token.

        Texts longer than the model are cut into windows of the model's length; each token is predicted once, and the
        last window looks back as far as it can.

        Args:
            texts: Empty ones have log-likelihood 0.
            progress: Called with the number of windows finished since the last call.

        Raises:
            ValueError: the model has an encoder, so that a text as such has no likelihood.
        """
        self._check_plain_texts()
        rows: list[Row] = []
        owners: list[int] = []
        for number, text in enumerate(texts):
            tokens = self.pretrained.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            windows = _windows((self._start, *tokens), self.room)
            rows += windows
            owners += [number] * len(windows)
        values = [0.0] * len(texts)
        for number, score in zip(owners, self.score_rows(rows, progress=progress), strict=True):
            values[number] += score.value
        return values

    def documents(self, texts: Sequence[str]) -> list[ReadDocument]:
        """Return how probable each document is behind its first word (`holdfast.inference.given_text`).

        Raises:
            ValueError: the model has an encoder, so that a text as such has no likelihood.
        """
        self._check_plain_texts()
        return read_documents(self, texts)

    def next_tokens(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest tokens behind a text, as text, each with its probability; likeliest first."""
        shares = self.next_shares(text)
        best = torch.topk(shares, min(count, len(shares)))
        names = [self.pretrained.tokenizer.decode([token]) for token in best.indices.tolist()]
        return list(zip(names, best.values.tolist(), strict=True))

    def next_shares(self, text: str, after: Sequence[int] = (), new: int = 1) -> torch.Tensor:
        """Return the probability `[V]` of each token behind a text and, where there are any, new tokens that the model wrote `after` it.

        `new` is the number of tokens that the text leaves room for, as `Sampling.max_new_tokens`.
        """
        prompt = self._prompt(text, max(new, len(after) + 1))
        tokens = (*prompt, *after, 0)
        row = Row(tokens, (*[0.0] * (len(tokens) - 1), 1.0), encoded=len(prompt))
        with torch.inference_mode():
            return self.engine.label_logits([row])[0].float().softmax(-1)

    def written(self, text: str, sampling: Sampling = GREEDY) -> tuple[list[int], str]:
        """Return the token ids that continue a text, without the end-of-sequence token, and what `generate` makes of them."""
        (tokens,) = self.continue_tokens([self._prompt(text, sampling.max_new_tokens)], sampling)
        return tokens, self.stops(sampling).text(tokens)

    def first_token_mass(self, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
        """Return the probability that the first token behind a context begins one of its `answers`, delimiter included.

        Answers that begin with the same token count once; behind an opening sentinel too (T5). No answers, no probability.
        """
        rows: list[Row] = []
        owners: list[int] = []
        for number, (context, texts) in enumerate(zip(contexts, answers, strict=True)):
            # By token: two answers that begin with the same one would count its probability twice.
            firsts: dict[int, Row] = {}
            for row in self._rows(context, texts):
                end = row.labels[0] + 1
                firsts[row.tokens[end - 1]] = Row(row.tokens[:end], (*row.weights[: end - 1], 1.0))
            candidates = list(firsts.values())
            if self._sentinels is not None:
                candidates += [_opened(row, self._sentinels[0]) for row in candidates]
            rows += candidates
            owners += [number] * len(candidates)
        mass = [0.0] * len(contexts)
        for number, score in zip(owners, self.score_rows(rows), strict=True):
            mass[number] += math.exp(score.value)
        return [min(1.0, value) for value in mass]  # rounding may exceed 1 by 1e-7

    def score_rows(self, rows: Sequence[Row], *, progress: Progress | None = None) -> list[LogLikelihood]:
        """Return the log-likelihood of each row's tokens that carry a weight. `Row.prompt` is ignored.

        Raises:
            ValueError: a row has more tokens than the model, or predicts its first token from nothing.
        """
        return self.engine.score(rows, progress)

    def prompt_tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens to generate from, uncut; at least the one that stands for the beginning of a text."""
        layout = self.pretrained.architecture.layout
        return encode_prompt(self.pretrained.tokenizer, text, max_length=2**30, layout=layout) or (self._start,)

    def generate_tokens(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, progress: Progress | None = None
    ) -> list[str]:
        """Continue token ids, as `generate` does texts.

        Raises:
            ValueError: a prompt is empty, or too long for the model beside the new tokens.
        """
        stops = self.stops(sampling)
        return [stops.text(tokens) for tokens in generate(self.engine, prompts, stops, sampling, progress)]

    def continue_tokens(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
        """Return the token ids that continue token ids, without the end-of-sequence token; those of one prompt stand side by side.

        Raises:
            ValueError: a prompt is empty, or too long for the model beside the new tokens.
        """
        return generate(self.engine, prompts, self.stops(sampling), sampling)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, with those that the tokenizer puts around it."""
        return counts(self.pretrained.tokenizer, texts)

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        """Return True for each context that must lose its beginning to fit beside its continuation and so many new tokens."""
        if self.room >= UNLIMITED:
            return [False] * len(pairs)
        architecture = self.pretrained.architecture
        # An encoder reads the context alone, and the rest has positions of its own: the layout knows.
        texts = [architecture.layout.bounded(context, text) for context, text in pairs]
        return [architecture.positions(count, new) > self.room for count in self.count_tokens(texts)]

    def _check_plain_texts(self) -> None:
        if not self.pretrained.architecture.plain_texts:
            raise ValueError(
                f"{self.pretrained.source}: a model with an encoder predicts answers, and no texts of their own; leave documents out, or "
                "ask for the loglikelihood of answers"
            )

    def _rows(self, context: str, continuations: Sequence[str]) -> list[Row]:
        """Return the rows that score continuations of one context."""
        tokenizer, soft = self.pretrained.tokenizer, 0 if as_attached(self.prompt).soft else None
        architecture = self.pretrained.architecture
        rows = encode_pairs(
            tokenizer, context, continuations, max_length=self.room, prompt=soft, layout=architecture.layout
        )
        if context or soft is not None or not architecture.needs_beginning:
            return rows
        # An empty context stands for the beginning of a text, which not every tokenizer writes.
        return [self._begun(row, text) for row, text in zip(rows, continuations, strict=True)]

    def _begun(self, row: Row, continuation: str) -> Row:
        """Return the row of a whole text, with a token that stands for its beginning."""
        if row.tokens[0] == self._start:
            return row
        tokens = self.pretrained.tokenizer(continuation, add_special_tokens=False, verbose=False)["input_ids"]
        return Row((self._start, *tokens), (0.0, *[1.0] * len(tokens)))

    def _prompt(self, text: str, new: int) -> tuple[int, ...]:
        tokenizer, architecture = self.pretrained.tokenizer, self.pretrained.architecture
        room = self.room - architecture.positions(0, new)
        tokens = self.prompt_tokens(text)  # Uncut first, so that a cut is counted.
        if room < 1:
            raise ValueError(
                f"{new} new tokens leave no room for a prompt in the {self.room} positions of {self.pretrained.source}; ask for fewer"
            )
        if len(tokens) > room:
            self.truncated += 1
            tokens = encode_prompt(tokenizer, text, max_length=room, layout=architecture.layout)
        return tokens

    def stops(self, sampling: Sampling) -> Stops:
        """Return the ends of a text: its stop strings, and the model's end tokens."""
        return Stops(self.pretrained.tokenizer, sampling.stop, self._ends, self._sentinels)

    @property
    def _sentinels(self) -> tuple[int, int] | None:
        return self.pretrained.architecture.sentinels(self.pretrained.tokenizer)

    @property
    def _start(self) -> int:
        """The token that stands for the beginning of a text."""
        # GPT-2 and its relatives have no beginning token: pretraining put the end of one text before the next.
        tokenizer = self.pretrained.tokenizer
        return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    @property
    def _ends(self) -> set[int]:
        settings = getattr(self.pretrained.model, "generation_config", None)
        # Chat models end a turn with a second token, which only their generation settings name.
        ends = getattr(settings, "eos_token_id", None)
        return {self.pretrained.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}


def _opened(row: Row, sentinel: int) -> Row:
    """Return the row with a sentinel before its answer."""
    boundary = row.boundary
    tokens, weights = (*row.tokens[:boundary], sentinel, *row.tokens[boundary:]), row.weights
    return replace(row, tokens=tokens, weights=(*weights[:boundary], 1.0, *weights[boundary:]), encoded=boundary)


def _either(plain: LogLikelihood, opened: LogLikelihood) -> LogLikelihood:
    """Return the likelihood that the answer is written, with the sentinel or without."""
    # In the logarithm: exp of a long answer's log-likelihood is 0.
    value = float(np.logaddexp(plain.value, opened.value))
    return LogLikelihood(value, plain.greedy or opened.greedy, plain.tokens)


def _windows(tokens: tuple[int, ...], room: int) -> list[Row]:
    """Return rows of at most `room` tokens and one to predict, in which every token but the first is predicted once."""
    rows, done = [], 1
    while done < len(tokens):
        end = min(done + room, len(tokens))
        # One more than the room: the last token is predicted and never read.
        seen = tokens[max(0, end - room - 1) : end]
        rows.append(Row(seen, (*[0.0] * (len(seen) - end + done), *[1.0] * (end - done))))
        done = end
    return rows

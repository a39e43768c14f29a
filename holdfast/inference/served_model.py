"""A model behind a server as a language model: texts go out, texts and log-probabilities come back."""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.atomic_files import write_text
from holdfast.inference.given_text import read_documents
from holdfast.inference.language_model import Origin, Progress, ReadDocument, check_texts
from holdfast.inference.requests import RefusedQuestion, Requests, usage_record
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.inference.served_chat import ServedChat, messages_of
from holdfast.models.endpoint import Endpoint

NO_END = 2**29  # room of a model whose server does not say how much it has
BYTES_A_TOKEN = 2  # by which tokens are estimated where a server does not count them: more than there are, as a rule
UNKNOWN_FIELD = (400, 422, 501)  # states by which servers refuse a field that they do not have
MARGIN = 8  # tokens that a server may put around a text
RECEIVED, USAGE = "received.jsonl", "usage.json"


@dataclass(eq=False)
class ServedModel:
    """A model that is asked over HTTP, by `/completions` or, where the endpoint says so, by `/chat/completions`.

    Log-likelihoods are those that a server returns for the tokens of a prompt (`echo` and `logprobs` of completions). Not every server
    has them; `check_ranks` says so in one line. Texts are the server's, cut before the first stop string here as well.

    Attributes:
        requests: The connection, and what was spent.
    """

    requests: Requests
    _room: int | None = field(default=None, repr=False)
    _counts: bool | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> Endpoint:
        """Return the server and its model."""
        return self.requests.endpoint

    @property
    def origin(self) -> Origin:
        """Return where answers come from: nothing tells one model from the next behind one address but the name."""
        return Origin(self.endpoint.argument, "", "server", attached=False)

    @property
    def tokenizer(self) -> Any:
        """Return what writes a conversation for a chat; None where texts are continued, because the tokenizer is the server's."""
        return ServedChat() if self.endpoint.chat else None

    @property
    def room(self) -> int:
        """Return the most tokens of a text, where the server's list of models says it, else a number without end."""
        if self._room is None:
            listed = self.requests.look("GET", f"{self.endpoint.url}/models")
            entries = listed.get("data") if isinstance(listed, dict) else None
            # By vLLM's name of it, or by llama.cpp's.
            mine = [entry for entry in entries or () if entry.get("id") == self.endpoint.name]
            sizes = [entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx") for entry in mine]
            self._room = next((size for size in sizes if isinstance(size, int) and size > 0), NO_END)
        return self._room

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        """Return the log-likelihood of each (context, continuation)'s continuation, by the tokens that hold any of its characters.

        Raises:
            ValueError: the server returns no log-probabilities of a prompt, or a continuation is empty.
        """
        tokens = self._echoed([context + text for context, text in pairs], progress)
        return [
            _sum(_tokens_from(part, len(context)), text) for part, (context, text) in zip(tokens, pairs, strict=True)
        ]

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """Return the continuations of each text; sample j of a text is asked for with the seed `seed` + j.

        Raises:
            ValueError: `texts` is one text, beams are asked for, or the server refuses or is gone.
        """
        check_texts(texts)
        if sampling.num_beams > 1:
            raise ValueError(
                f"{self.endpoint.argument}: a server has no beam search; leave num_beams out, or load the model"
            )
        settings: dict[str, Any] = {"max_tokens": sampling.max_new_tokens, "temperature": sampling.temperature}
        settings |= {"stop": list(sampling.stop)} if sampling.stop else {}
        settings |= {"top_p": sampling.top_p} if sampling.top_p < 1 else {}
        settings |= (
            {"top_k": sampling.top_k} if sampling.top_k else {}
        )  # No field of OpenAI's own; most other servers have it.
        bodies: list[dict[str, Any]] = []
        for text in texts:
            seeds = range(sampling.seed, sampling.seed + sampling.samples) if sampling.draws else [None]
            bodies += [self._question(text, settings | ({} if seed is None else {"seed": seed})) for seed in seeds]
        path = "/chat/completions" if self.endpoint.chat else "/completions"
        answers = self.requests.all(path, bodies, _chat_text if self.endpoint.chat else _text, progress)
        return [_before(answer["text"], sampling.stop) for answer in answers]

    def rolling(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[float]:
        """Return the log-likelihood of each whole text.

        Raises:
            ValueError: the server returns no log-probabilities of a prompt, or none of a text's first token.
        """
        parts = self._echoed(texts, progress)
        return [
            _sum(_tokens_from(part, 0), text).value if text else 0.0 for part, text in zip(parts, texts, strict=True)
        ]

    def documents(self, texts: Sequence[str]) -> list[ReadDocument]:
        """Return how probable each document is behind its first word.

        Raises:
            ValueError: the server returns no log-probabilities of a prompt.
        """
        return read_documents(self, texts)

    def first_token_mass(self, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
        """Return the probability that the first token behind a context begins one of its `answers`, delimiter included."""
        pairs: list[tuple[int, str, str]] = []
        for number, (context, texts) in enumerate(zip(contexts, answers, strict=True)):
            pairs += [(number, context, text) for text in texts]
        # By token: two answers that begin with the same token would count its probability twice.
        masses: list[dict[str, float]] = [{} for _ in contexts]
        echoed = self._echoed([context + text for _, context, text in pairs])
        for (number, context, text), part in zip(pairs, echoed, strict=True):
            first = _tokens_from(part, len(context))[:1]
            masses[number][first[0]["token"] if first else ""] = math.exp(_sum(first, text).value)
        return [min(1.0, sum(mass.values())) for mass in masses]

    def next_tokens(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest tokens behind a text, as text, each with its probability; likeliest first."""
        body = self._question(text, {"max_tokens": 1, "temperature": 0, "logprobs": count})
        (answer,) = self.requests.all("/completions", [body], _first_likeliest)
        ranked = sorted(answer["likeliest"].items(), key=lambda item: -item[1])
        return [(token, math.exp(value)) for token, value in ranked[:count]]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text by the server's `/tokenize` (vLLM, llama.cpp, `holdfast serve`), else an estimate."""
        counted: list[int | None] = [None] * len(texts)
        # The first text says whether the server counts at all.
        for part in (slice(0, 1), slice(1, None)):
            if self._counts is not False:
                # The second and third are llama.cpp's names.
                named = {"model": self.endpoint.name, "add_special": True}
                bodies = [{**named, "prompt": text, "content": text} for text in texts[part]]
                counted[part] = map(_count, self.requests.look_all("POST", f"{self.endpoint.root}/tokenize", bodies))
                self._counts = counted[0] is not None if counted else None
        return [_estimate(text) if count is None else count for text, count in zip(texts, counted, strict=True)]

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        """Return True for each context that does not fit beside its continuation and so many new tokens; a server refuses such a text."""
        if self.room >= NO_END:
            return [False] * len(pairs)
        # A token has a byte at least, so that a short text need not be counted.
        long = [context + text for context, text in pairs]
        counts = [n + MARGIN if (n := len(text.encode())) + MARGIN + new <= self.room else None for text in long]
        return [
            (self.count_tokens([text])[0] if count is None else count) + new > self.room
            for text, count in zip(long, counts, strict=True)
        ]

    def check_ranks(self) -> None:
        """Refuse a server without log-probabilities of a prompt, by one short question.

        Raises:
            ValueError: it returns none.
        """
        try:
            self.loglikelihood([("The", " end")])
        except RefusedQuestion as error:
            if error.state not in UNKNOWN_FIELD:
                raise
            raise ValueError(f"{self._without}; it says: {error}") from None

    @property
    def _without(self) -> str:
        return (
            f"{self.endpoint.argument}: this server returns no log-probabilities of a prompt (`echo` and `logprobs` of /completions), by "
            "which choices are ranked; ask tasks whose answers are written (metric exact_match, f1, checked ...), or load the model itself"
        )

    def _question(self, text: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        asked_for = {"messages": messages_of(text)} if self.endpoint.chat else {"prompt": text}
        return {"model": self.endpoint.name, **asked_for, **settings}

    def _echoed(self, texts: Sequence[str], progress: Progress | None = None) -> list[list[dict[str, Any]]]:
        """Return the tokens of each text with their log-probabilities: `token`, `logprob`, `begin`, `end` (characters), `likeliest`."""
        if self.endpoint.chat:
            raise ValueError(self._without)
        # One new token, which is not looked at: some servers refuse none.
        settings = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        bodies = [self._question(text, settings) for text in texts]
        answers = self.requests.all("/completions", bodies, _tokens, progress)
        if any(answer["tokens"] is None for answer in answers):
            raise ValueError(self._without)
        return [_placed(text, answer["tokens"]) for text, answer in zip(texts, answers, strict=True)]


@contextmanager
def served(endpoint: Endpoint, folder: Path, *, result: bool = True) -> Iterator[ServedModel]:
    """Yield a model behind a server; at the end say what was spent.

    The answers that come are kept in `folder` until the block ends well. With `result` the folder gets `usage.json`.
    """
    requests = Requests(endpoint, folder / RECEIVED)
    try:
        yield ServedModel(requests)
        if result and requests.cost.requests:
            write_text(folder / USAGE, json.dumps(usage_record(endpoint, requests.cost)) + "\n")
        requests.finish()
    finally:
        requests.close()
        if requests.cost.requests or requests.cost.kept:
            print(f"holdfast: {endpoint.argument}: {requests.cost.words()}", file=sys.stderr, flush=True)


def _text(answer: Any) -> dict[str, Any]:
    text = answer["choices"][0]["text"]
    if not isinstance(text, str):
        raise TypeError("no text")
    return {"text": text}


def _chat_text(answer: Any) -> dict[str, Any]:
    text = answer["choices"][0]["message"]["content"]
    # Nothing at all is an answer too: some servers write null for it.
    return {"text": "" if text is None else str(text)}


def _first_likeliest(answer: Any) -> dict[str, Any]:
    likeliest = dict(answer["choices"][0]["logprobs"]["top_logprobs"][0])
    if not all(map(_is_number, likeliest.values())):
        raise TypeError("no probabilities")
    return {"likeliest": likeliest}


def _tokens(answer: Any) -> dict[str, Any]:
    """Return the tokens of an echoed prompt, or None in their place where the server leaves log-probabilities out."""
    choice = answer["choices"][0]
    values = choice.get("logprobs")
    # A server that knows `logprobs` and not `echo` has those of the new token alone, whose text begins behind the prompt.
    if not values or not values.get("token_logprobs") or len(values["tokens"]) < 2:
        return {"tokens": None}
    names, numbers, offsets = values["tokens"], values["token_logprobs"], values["text_offset"]
    likeliest = values.get("top_logprobs") or [None] * len(names)
    tokens = [list(token) for token in zip(names, numbers, offsets, likeliest, strict=True)]
    if not all(_is_token(*token) for token in tokens):
        raise TypeError("no tokens")
    return {"tokens": tokens}


def _is_token(name: Any, number: Any, offset: Any, likeliest: Any) -> bool:
    """Return whether a token's parts are what the protocol says; of the first one a server knows no probability."""
    numbers = [] if likeliest is None else list(likeliest.values())
    numbers += [] if number is None else [number]
    return isinstance(name, str) and isinstance(offset, int) and all(map(_is_number, numbers))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _placed(text: str, tokens: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the tokens of a text with the characters that each holds; what was written behind the text is left out."""
    first = tokens[0]
    # A server may count a beginning-of-sequence token's name among the characters before the text.
    shift = len(first[0]) if first[1] is None and tokens[1][2] == len(first[0]) and not text.startswith(first[0]) else 0
    following = [*(token[2] - shift for token in tokens[1:]), len(text)]
    records: list[dict[str, Any]] = []
    for (name, value, offset, likeliest), end in zip(tokens, following, strict=True):
        begin = offset - shift
        # Where the space between two words is in neither token, the first one ends before it.
        end = min(end, begin + len(name)) if text[max(0, begin) :].startswith(name) else end
        records.append({"token": name, "logprob": value, "begin": begin, "end": end, "likeliest": likeliest})
    return [record for record in records if record["begin"] < len(text)]


def _tokens_from(tokens: Sequence[dict[str, Any]], begin: int) -> list[dict[str, Any]]:
    """Return the tokens that hold a character from `begin` on: one that straddles it is predicted, as in training."""
    return [token for token in tokens if token["end"] > begin]


def _sum(tokens: Sequence[dict[str, Any]], text: str) -> LogLikelihood:
    """Return the log-likelihood of the tokens of a text.

    Raises:
        ValueError: there is no token, or one without a number.
    """
    if not tokens:
        raise ValueError(f"continuation {text!r} has no token; a choice needs some text")
    if any(not isinstance(token["logprob"], int | float) for token in tokens):
        raise ValueError(
            f"the server gives no log-probability of the first token of {text[:40]!r}, for nothing stands before it; ask with some context"
        )
    # None of them: the server says nothing about other tokens.
    greedy = all(token["likeliest"] and token["logprob"] >= max(token["likeliest"].values()) for token in tokens)
    return LogLikelihood(math.fsum(token["logprob"] for token in tokens), greedy, len(tokens))


def _before(text: str, stop: Sequence[str]) -> str:
    """Return a text before the first of the stop strings: not every server takes as many as a task has."""
    return text[: min((position for string in stop if (position := text.find(string)) >= 0), default=None)]


def _count(answer: Any) -> int | None:
    """Return the number of tokens that an answer of `/tokenize` says; None where it is none."""
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    return len(tokens) if isinstance(tokens, list) and tokens else None


def _estimate(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_A_TOKEN) + MARGIN

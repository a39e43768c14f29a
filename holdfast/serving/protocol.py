"""Requests and answers of the OpenAI protocol, as far as this server has it: completions, chats, models, errors."""

import secrets
import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.inference.sampling import Sampling
from holdfast.serving.jobs import ScoredToken, Written

COMPLETION_TOKENS, CHAT_TOKENS = (
    16,
    1024,
)  # new tokens where a request does not say how many; the first is the protocol's own
MOST_STOPS, MOST_SAMPLES, MOST_LIKELIEST = 64, 16, 20
# Fields that would change the answer, which this server has not; with such a value they change nothing.
WITHOUT: dict[str, tuple[object, ...]] = {
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "functions": ([],),
    "tools": ([],),
    "response_format": ({"type": "text"},),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "prompt_logprobs": (0,),
}


class Refused(Exception):
    """A request that cannot be answered, with its HTTP state."""

    def __init__(self, state: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.state, self.code, self.param = state, code, param

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON of the error."""
        name = "server_error" if self.state >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": name, "param": self.param, "code": self.code}}


class StreamOptions(BaseModel):
    """Settings of a stream."""

    include_usage: bool = False


class AskedFields(BaseModel):
    """Fields that completions and chats share."""

    model_config = ConfigDict(extra="allow")

    model: str
    max_tokens: int | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = None
    n: int | None = Field(None, ge=1, le=MOST_SAMPLES)
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def sampling(self, most: int) -> Sampling:
        """Return the settings of the continuation, of at most `most` new tokens.

        Raises:
            Refused: a setting is wrong, or one that this server has not.
        """
        for name, harmless in WITHOUT.items():
            value = (self.model_extra or {}).get(name)
            if value is not None and value not in harmless:
                raise Refused(400, f"{name}: this server does not have it; leave it out", "unsupported_parameter", name)
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stop) > MOST_STOPS or "" in stop:
            raise Refused(400, f"stop: give at most {MOST_STOPS} strings, none of them empty", param="stop")
        draws = 1.0 if self.temperature is None else self.temperature
        n = self.n or 1
        if n > 1 and self.stream:
            raise Refused(400, "n: a stream has one answer", param="n")
        # Without a draw all samples are one, which the answer repeats.
        drawn = {"top_k": max(0, self.top_k or 0), "top_p": self.top_p or 1.0, "samples": n} if draws else {}
        return Sampling(max(1, most), tuple(stop), temperature=draws, seed=self.seed or 0, **drawn)


class Completion(AskedFields):
    """A request of `/v1/completions`."""

    prompt: str | list[str] = Field(min_length=1)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MOST_LIKELIEST)


class MessagePart(BaseModel):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[MessagePart]


class Chat(AskedFields):
    """A request of `/v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None

    @property
    def turns(self) -> list[dict[str, str]]:
        """Return the messages as a chat template takes them."""
        turns: list[dict[str, str]] = []
        for message in self.messages:
            parts = (
                message.content
                if isinstance(message.content, list)
                else [MessagePart(type="text", text=message.content)]
            )
            role = "system" if message.role == "developer" else message.role
            turns.append({"role": role, "content": "".join(part.text for part in parts)})
        return turns


def read(shape: type[BaseModel], content: Any) -> Any:
    """Return a request of this shape.

    Raises:
        Refused: a field is missing or wrong; the first is named.
    """
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise Refused(400, f"{path or 'request'}: {first['msg'].lower()}", param=path or None) from None


def new_id(prefix: str) -> str:
    """Return the name of an answer."""
    return f"{prefix}-{secrets.token_hex(12)}"


def usage(prompt: int, new: int) -> dict[str, int]:
    """Return the counts of tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def completion(name: str, model: str, choices: list[dict[str, Any]], counts: dict[str, int] | None) -> dict[str, Any]:
    """Return an answer of `/v1/completions`, or a piece of one."""
    body = {"id": name, "object": "text_completion", "created": int(time.time()), "model": model, "choices": choices}
    return body | ({} if counts is None else {"usage": counts})


def chat(
    name: str, model: str, choices: list[dict[str, Any]], counts: dict[str, int] | None, *, piece: bool
) -> dict[str, Any]:
    """Return an answer of `/v1/chat/completions`, or a piece of one."""
    shape = "chat.completion.chunk" if piece else "chat.completion"
    body = {"id": name, "object": shape, "created": int(time.time()), "model": model, "choices": choices}
    return body | ({} if counts is None else {"usage": counts})


def text_choice(index: int, answer: Written, *, likeliest: int | None) -> dict[str, Any]:
    """Return a choice of `/v1/completions`."""
    scores = None if likeliest is None else log_probabilities(answer.scored, likeliest)
    return {"index": index, "text": answer.text, "finish_reason": answer.reason, "logprobs": scores}


def log_probabilities(tokens: tuple[ScoredToken, ...], likeliest: int) -> dict[str, Any]:
    """Return the tokens' log-probabilities, with those of the likeliest ones."""
    ranked = [
        None
        if token.likeliest is None
        else dict(sorted(token.likeliest.items(), key=lambda item: -item[1])[:likeliest])
        for token in tokens
    ]
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "text_offset": [token.begin for token in tokens],
        "top_logprobs": ranked if likeliest else None,
    }

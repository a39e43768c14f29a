"""The web application: paths of the OpenAI protocol, what guards them, and answers as JSON or as a stream of events."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from holdfast.serving import protocol
from holdfast.serving.hosts import LOOPBACK
from holdfast.serving.jobs import Job, Written
from holdfast.serving.protocol import AskedFields, Chat, Completion, Refused, read
from holdfast.serving.worker import Worker

MOST_BODY = 4 << 20  # bytes of a request
LOOK = 1.0  # seconds between two looks whether a client still waits


class Guard:
    """Refuse a request with another host header than this server's, from a page of another origin, or without its key.

    A page of the web can make a browser send requests to this machine, under a name of the page's own or under ours: the host header
    tells the first, the origin header the second.
    """

    def __init__(self, app: Any, hosts: Sequence[str], key: str) -> None:
        self.app, self.hosts, self.key = app, hosts, key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http" and (refused := self._refused(dict(scope["headers"]))):
            await JSONResponse(refused.body, refused.state)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refused(self, headers: dict[bytes, bytes]) -> Refused | None:
        name = _host_of(headers.get(b"host", b""))
        if self.hosts and name not in self.hosts:
            return Refused(
                403, f"host header {name!r}: this server answers to {', '.join(self.hosts)} only", "bad_host"
            )
        origin = headers.get(b"origin")
        # A server for other machines does not know by which names they call it: a page that it could have sent has the same one.
        if origin is not None and _host_of(origin) not in {*LOOPBACK, *(self.hosts or (name,))}:
            return Refused(
                403, f"origin {origin.decode('latin-1')!r}: pages of this machine only may ask", "bad_origin"
            )
        if self.key and not hmac.compare_digest(headers.get(b"authorization", b""), f"Bearer {self.key}".encode()):
            return Refused(401, "this server wants its key: Authorization: Bearer ...", "invalid_api_key")
        return None


def _host_of(address: bytes) -> str:
    """Return the host of `host:port` or of `scheme://host:port`, without the port; brackets of IPv6 stay."""
    host = address.decode("latin-1").lower().rpartition("//")[2]
    return host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


class Service:
    """The handlers of the paths: each makes jobs of a request and an answer of what the worker tells."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.roster = worker, worker.roster

    def application(self, hosts: Sequence[str] = (), key: str = "") -> Starlette:
        """Return the application; `hosts` are the names that a host header may have (any, where there is none)."""
        routes = [
            Route("/health", self.health),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/chat/completions", self.chats, methods=["POST"]),
            Route("/tokenize", self.tokenize, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {Refused: _refused, HTTPException: _no_such_path, Exception: _broken}
        middleware = [Middleware(Guard, hosts=hosts, key=key)]
        return Starlette(routes=routes, exception_handlers=handlers, middleware=middleware)

    async def health(self, request: Request) -> Response:
        """Say that the server is up."""
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> Response:
        """List the models by name."""
        return JSONResponse({"object": "list", "data": [self._card(name) for name in self.roster.names]})

    async def model(self, request: Request) -> Response:
        """Describe a model."""
        name = self.roster.full(request.path_params["name"])
        self._check_name(name)
        return JSONResponse(self._card(name))

    async def tokenize(self, request: Request) -> Response:
        """Count the tokens of a text, as vLLM's path of this name does."""
        question = read(Completion, await _content(request))
        if not isinstance(question.prompt, str):
            raise Refused(400, "prompt: give one text", param="prompt")
        job, _ = await self._done(request, self._job(question, question.prompt, counts=True))
        room = self.roster.room(self.roster.full(question.model))
        return JSONResponse({"count": len(job.tokens), "max_model_len": room, "tokens": list(job.tokens)})

    async def completions(self, request: Request) -> Response:
        """Continue texts, or score their own tokens (`echo` with `logprobs`)."""
        question: Completion = read(Completion, await _content(request))
        prompts = [question.prompt] if isinstance(question.prompt, str) else question.prompt
        scores = question.echo and question.logprobs is not None
        if question.echo and not (scores and question.max_tokens in (0, 1) and question.temperature == 0):
            raise Refused(400, "echo: only with logprobs, max_tokens 0 or 1 and temperature 0", param="echo")
        if question.stream and (len(prompts) > 1 or question.logprobs is not None):
            raise Refused(400, "stream: for one prompt, without logprobs", param="stream")
        if question.max_tokens == 0 and not scores:
            raise Refused(400, "max_tokens: ask for 1 or more; 0 is for echo with logprobs", param="max_tokens")
        name = protocol.new_id("cmpl")
        limit = protocol.COMPLETION_TOKENS if question.max_tokens is None else question.max_tokens
        jobs = [self._job(question, text, limit, echo=bool(scores), likeliest=question.logprobs) for text in prompts]
        if question.stream:

            def piece(text: str | None, reason: str | None, counts: dict[str, int] | None) -> dict[str, Any]:
                choice = {"index": 0, "text": text or "", "finish_reason": reason, "logprobs": None}
                return protocol.completion(name, question.model, [] if text is None else [choice], counts)

            return await self._stream(question, jobs[0], piece)
        answers = await asyncio.gather(*(self._done(request, job) for job in jobs))
        texts = list(chain.from_iterable(_repeated(part, question) for _, part in answers))
        choices = [protocol.text_choice(i, text, likeliest=question.logprobs) for i, text in enumerate(texts)]
        return JSONResponse(protocol.completion(name, question.model, choices, _usage(answers)))

    async def chats(self, request: Request) -> Response:
        """Answer a conversation, written by the model's chat template."""
        question: Chat = read(Chat, await _content(request))
        if question.logprobs:
            raise Refused(400, "logprobs: only /v1/completions has them", "unsupported_parameter", "logprobs")
        name, limit = protocol.new_id("chatcmpl"), question.max_completion_tokens or question.max_tokens
        job = self._job(question, question.turns, limit)
        if question.stream:

            def piece(text: str | None, reason: str | None, counts: dict[str, int] | None) -> dict[str, Any]:
                choice = {
                    "index": 0,
                    "delta": {"role": "assistant", "content": text} if text else {},
                    "finish_reason": reason,
                }
                return protocol.chat(name, question.model, [] if text is None else [choice], counts, piece=True)

            return await self._stream(question, job, piece)
        answers = [await self._done(request, job)]
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text.text}, "finish_reason": text.reason}
            for i, text in enumerate(_repeated(answers[0][1], question))
        ]
        return JSONResponse(protocol.chat(name, question.model, choices, _usage(answers), piece=False))

    def _card(self, name: str) -> dict[str, Any]:
        return {
            "id": name, "object": "model", "created": self.roster.since, "owned_by": "holdfast",
            "max_model_len": self.roster.room(name), "description": self.roster.words[name],
        }  # fmt: skip

    def _check_name(self, name: str) -> None:
        if name not in self.roster.makers:
            listed = ", ".join(self.roster.names)
            raise Refused(
                404, f"model {name!r}: there is none of this name; there are {listed}", "model_not_found", "model"
            )

    def _job(
        self, question: AskedFields, prompt: str | list[dict[str, str]], limit: int | None = None, *, echo: bool = False,
        likeliest: int | None = None, counts: bool = False,
    ) -> Job:  # fmt: skip
        name = self.roster.full(question.model)
        self._check_name(name)
        sampling = question.sampling(protocol.CHAT_TOKENS if limit is None else limit)
        return Job(
            name, prompt, sampling, lambda event: None, limit, question.seed is not None, echo, likeliest,
            bool(question.stream), counts,
        )  # fmt: skip

    def _submit(self, job: Job) -> "asyncio.Queue[Any]":
        """Hand a job to the worker; return the queue of what it tells."""
        if self.worker.full:
            raise Refused(503, "too much waits here already; try again later", "overloaded")
        events: asyncio.Queue[Any] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(event: Any) -> None:
            try:
                loop.call_soon_threadsafe(events.put_nowait, event)
            except RuntimeError:  # The server ends: its loop is closed, and nobody waits any more.
                job.gone.set()

        job.tell = tell
        self.worker.submit(job)
        return events

    async def _done(self, request: Request, job: Job) -> tuple[Job, list[Written]]:
        """Wait for all samples of a job."""
        events, texts = self._submit(job), []
        try:
            while len(texts) < job.sampling.samples:
                try:
                    event = await asyncio.wait_for(events.get(), LOOK)
                except asyncio.TimeoutError:
                    if await request.is_disconnected():
                        raise ClientDisconnect from None
                    continue
                texts.append(_written(event))
        finally:
            job.gone.set()  # Of a job that is done nobody asks.
        return job, texts

    async def _stream(
        self,
        question: AskedFields,
        job: Job,
        piece: Callable[[str | None, str | None, dict[str, int] | None], dict[str, Any]],
    ) -> Response:
        """Answer with pieces as they come: server-sent events."""
        events = self._submit(job)
        # Before the state is sent: what is wrong with a request must be an error, and no stream.
        first = await events.get()
        if isinstance(first, Exception):
            _written(first)

        async def lines() -> AsyncIterator[str]:
            event = first
            try:
                while not isinstance(event, Written):
                    if isinstance(event, Exception):
                        yield _event(_as_refused(event).body)
                        return
                    yield _event(piece(event, None, None))
                    event = await events.get()
                yield _event(piece("", event.reason, None))
                if question.stream_options and question.stream_options.include_usage:
                    yield _event(piece(None, None, protocol.usage(len(job.tokens), len(event.tokens))))
                yield "data: [DONE]\n\n"
            finally:
                job.gone.set()

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _content(request: Request) -> Any:
    """Return the JSON of a request.

    Raises:
        Refused: it is too large, or no JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # A page of the web may send any other type to another server unasked.
        raise Refused(415, "send JSON, with the header Content-Type: application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            raise Refused(413, f"the request is larger than {MOST_BODY >> 20} MiB", "too_large")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the request is no JSON") from None


def _written(event: Any) -> Written:
    """Return a finished text.

    Raises:
        Refused: the event is an error.
    """
    if isinstance(event, Exception):
        raise _as_refused(event)
    assert isinstance(event, Written)
    return event


def _as_refused(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    # Others are faults of ours: their text may name files of this machine, and stands on stderr.
    return Refused(400, str(error)) if isinstance(error, ValueError) else Refused(500, "the model failed", "internal")


def _repeated(texts: list[Written], question: AskedFields) -> list[Written]:
    """Return as many texts as are asked for: without a draw they are equal."""
    return texts * (question.n or 1) if len(texts) == 1 else texts


def _usage(answers: Sequence[tuple[Job, list[Written]]]) -> dict[str, int]:
    new = chain.from_iterable(part for _, part in answers)
    return protocol.usage(sum(len(job.tokens) for job, _ in answers), sum(len(text.tokens) for text in new))


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = {"Retry-After": "1"} if error.state == 503 else None
    return JSONResponse(error.body, error.state, headers)


def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        Refused(error.status_code, f"{request.method} {request.url.path}: {error.detail}").body, error.status_code
    )


def _broken(request: Request, error: Exception) -> Response:
    return JSONResponse(Refused(500, "the server failed", "internal").body, 500)

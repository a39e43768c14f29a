"""Requests to a server that speaks the OpenAI protocol: many at a time, repeated where that may help, each paid once.

Retries and their waits are tenacity's, the connection httpx's. Answers are written to a file as they come, so that the same command after
a kill asks only for the rest.
"""

import hashlib
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from holdfast.models.endpoint import Endpoint

TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504)  # states of a server that another try may find gone
MOST_BYTES = 64 << 20  # of an answer; the log-probabilities of a prompt of 100,000 tokens take a tenth of it
LONGEST_WAIT = 120.0  # seconds that a server may ask us to wait before the next try


class Unavailable(Exception):
    """A try that failed for a reason that may pass; `wait` is the seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class RefusedQuestion(ValueError):
    """A question that the server refuses for good, with its HTTP state; the text is one line for the user."""

    def __init__(self, state: int, message: str) -> None:
        super().__init__(message)
        self.state = state


@dataclass(frozen=True)
class RequestSettings:
    """Limits of asking a server, of which the environment sets three.

    Attributes:
        concurrency: Requests at a time (HOLDFAST_CONCURRENCY).
        timeout: Seconds without a byte after which a try has failed (HOLDFAST_TIMEOUT).
        tries: Tries of a request before the command ends (HOLDFAST_TRIES).
        backoff: Seconds of the first wait; it doubles with each, up to 30 s, of which a random part is waited.
    """

    concurrency: int = 8
    timeout: float = 120.0
    tries: int = 6
    backoff: float = 1.0

    @classmethod
    def of_environment(cls) -> "RequestSettings":
        """Return the settings that the environment asks for.

        Raises:
            ValueError: one is not a positive number.
        """
        values = {}
        for name, read in (("concurrency", int), ("timeout", float), ("tries", int)):
            variable = f"HOLDFAST_{name.upper()}"
            if text := os.environ.get(variable):
                try:
                    values[name] = read(text)
                except ValueError:
                    values[name] = 0
                if not 0 < values[name] < 1e6:
                    raise ValueError(f"{variable}={text}: write a number above 0")
        return cls(**values)


@dataclass
class Cost:
    """Requests of a command, the tokens that the server counted, and what cost nothing because it was answered before."""

    requests: int = 0
    repeated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    kept: int = 0

    def words(self) -> str:
        """Return the counts as a sentence."""
        parts = f"{self.requests} requests ({self.repeated} of them repeated)"
        parts += f", {self.prompt_tokens} prompt tokens, {self.completion_tokens} completion tokens"
        return parts + (f"; {self.kept} answers of an earlier command that was stopped" if self.kept else "")


@dataclass
class Requests:
    """Ask a server; answers come back in the order of the questions.

    Args:
        endpoint: The server and its model.
        path: The file that holds the answers that have come, until `finish`; None keeps none.
        settings: Limits.
    """

    endpoint: Endpoint
    path: Path | None = None
    settings: RequestSettings = field(default_factory=RequestSettings.of_environment)
    cost: Cost = field(default_factory=Cost)
    _answers: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)
    _appended: bool = False

    def __post_init__(self) -> None:
        try:
            import httpx
            import tenacity  # noqa: F401
        except ImportError as error:
            raise ValueError(
                f"{self.endpoint.argument}: needs httpx and tenacity; pip install 'holdfast[serve]'"
            ) from error
        self._key = _key(self.endpoint)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(
            max_connections=self.settings.concurrency, max_keepalive_connections=self.settings.concurrency
        )
        # No redirects: the key is for the server that was named. No proxies of the environment for this machine's own servers.
        local = self.endpoint.host in ("127.0.0.1", "localhost", "::1")
        self._client = httpx.Client(headers=headers, timeout=self.settings.timeout, limits=limits, trust_env=not local)
        if self.path is not None and self.path.exists():
            self._answers = _read(self.path)

    def all(
        self,
        path: str,
        bodies: Sequence[Mapping[str, Any]],
        read: Callable[[Any], dict[str, Any]],
        progress: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Return what `read` makes of each answer, as the questions stand; equal questions are asked once.

        Args:
            path: Behind the server's address, such as `/completions`.
            bodies: The questions, as JSON objects.
            read: Takes of an answer what is needed; a KeyError, TypeError, IndexError or ValueError says that the answer is damaged: it
                is asked again.
            progress: Called with the number of questions answered since the last call.

        Raises:
            ValueError: the server refuses a question, or cannot be reached after all tries.
        """
        keys = [_digest(self.endpoint.url + path, body) for body in bodies]
        wanted = {key: body for key, body in zip(keys, bodies, strict=True) if key not in self._answers}
        counts = Counter(keys)
        earlier = [key for key in counts if key not in wanted]
        self.cost.kept += len(earlier)
        if progress and earlier:
            progress(sum(counts[key] for key in earlier))
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="requests")
        running: dict[Future[dict[str, Any]], str] = {
            pool.submit(self._ask, path, body, read, stop): key for key, body in wanted.items()
        }
        try:
            for future in as_completed(running):
                self._keep(running[future], future.result())
                if progress:
                    progress(counts[running[future]])
        finally:
            # Whatever went wrong, the other tries end instead of waiting for their next turn; so does Ctrl-C.
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            for future, key in running.items():  # Those that came while the command was ending are paid too.
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._keep(key, future.result())
        return [self._answers[key] for key in keys]

    def look(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of an address that a server may have or not; None where it has not, or says anything else."""
        import httpx

        try:
            with self._client.stream(method, url, json=body) as response:
                return json.loads(_bounded(response)) if response.is_success else None
        except (httpx.HTTPError, ValueError, RecursionError):
            return None

    def look_all(self, method: str, url: str, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return what `look` does for each body, in their order."""
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            return list(pool.map(lambda body: self.look(method, url, body), bodies))

    def finish(self) -> None:
        """Forget the answers that were kept on the disk: the command has all of them."""
        # Kept longer, they would answer for a model that the server has exchanged since.
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _keep(self, key: str, answer: dict[str, Any]) -> None:
        """Add an answer to those that are there, in memory and in the file."""
        if key in self._answers:
            return
        self._answers[key] = answer
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One write of one line, opened anew: two commands may share the file. The line before may have been cut by a kill, so that the
        # first one here begins with the end of that.
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line if self._appended else "\n" + line)
        self._appended = True

    def _ask(
        self, path: str, body: Mapping[str, Any], read: Callable[[Any], dict[str, Any]], stop: threading.Event
    ) -> dict[str, Any]:
        """Return one answer, after as many tries as it takes."""
        import tenacity

        backoff = tenacity.wait_random_exponential(multiplier=self.settings.backoff, max=30)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(error.wait if isinstance(error, Unavailable) else 0.0, backoff(state))

        tries = 0
        try:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(Unavailable),
                stop=tenacity.stop_after_attempt(self.settings.tries) | tenacity.stop_when_event_set(stop),
                wait=wait,
                sleep=tenacity.sleep_using_event(stop),
                reraise=True,
            ):
                with attempt:
                    tries += 1
                    return self._try(path, body, read, again=tries > 1)
        except Unavailable as error:
            raise ValueError(
                f"{self.endpoint.argument}: {error}, at the last of {tries} tries; {self._advice()}"
            ) from None
        raise AssertionError("tenacity returns or raises")

    def _try(
        self, path: str, body: Mapping[str, Any], read: Callable[[Any], dict[str, Any]], *, again: bool
    ) -> dict[str, Any]:
        """Send a question once, and return what `read` makes of the answer.

        Raises:
            Unavailable: it failed, and may not fail the next time.
            ValueError: it failed for good.
        """
        import httpx

        with self._lock:
            self.cost.requests += 1
            self.cost.repeated += again
        try:
            with self._client.stream("POST", self.endpoint.url + path, json=body) as response:
                content = _bounded(response)
        except httpx.TimeoutException:
            raise Unavailable(f"no answer within {self.settings.timeout:g} s") from None
        except httpx.ConnectError:
            raise Unavailable("nothing answers at this address") from None
        except (httpx.TransportError, httpx.DecodingError) as error:  # such as a body that ends too early
            raise Unavailable(f"the connection broke ({type(error).__name__})") from None
        if not response.is_success:
            self._raise_failure(response, content)
        try:
            answer = json.loads(content)
            values = read(answer)
            usage = answer.get("usage") or {}
            spent = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError):
            raise Unavailable("its answer is damaged, or not what the protocol says") from None
        with self._lock:
            self.cost.prompt_tokens += spent[0]
            self.cost.completion_tokens += spent[1]
        return values

    def _raise_failure(self, response: Any, content: bytes) -> NoReturn:
        """Raise the error that a state other than success stands for.

        Raises:
            Unavailable: it may pass.
            RefusedQuestion: it will not.
        """
        state, words = response.status_code, self._message(content) or response.reason_phrase
        asks = _seconds(response.headers.get("retry-after"))
        # Such a 429 is no matter of pace: no wait pays the bill.
        if state in TRANSIENT and "insufficient_quota" not in words and asks <= LONGEST_WAIT:
            raise Unavailable(f"the server answers {state}: {words}", asks)
        hint = ""
        if state in (401, 403):
            hint = (
                "; set HOLDFAST_API_KEY"
                if not self._key
                else "; the key that is set in the environment is not accepted"
            )
        elif asks > LONGEST_WAIT:
            hint = f"; it asks to wait {asks:g} s, then give the same command again"
        elif state == 404 and not self.endpoint.chat:
            hint = f"; if it only chats, write openai:{self.endpoint.url}/chat/completions#{self.endpoint.name}"
        raise RefusedQuestion(state, f"{self.endpoint.argument}: the server answers {state}: {words}{hint}")

    def _message(self, content: bytes) -> str:
        """Return the server's own words for an error, in one line that is safe to print."""
        try:
            error = json.loads(content)["error"]
            text = str(error["message"]) + (f" ({error['code']})" if error.get("code") else "")
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            text = content.decode(errors="replace")
        # A server may write the key that it refuses into its message, and anything that a terminal would obey.
        text = text.replace(self._key, "...") if self._key else text
        text = "".join(c if c.isprintable() else " " for c in text)
        return " ".join(text.split())[:300]

    def _advice(self) -> str:
        """Return what the user may do once the server answers again."""
        if self.path is None:
            return "give the same command again once it answers"
        return f"{len(self._answers)} answers are kept: the same command goes on there once the server answers"


def _bounded(response: Any) -> bytes:
    """Return the body of an answer.

    Raises:
        ValueError: it is longer than any answer to one question.
    """
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > MOST_BYTES:
            raise ValueError(
                f"the server sends more than {MOST_BYTES >> 20} MiB for one question, which is no answer; look at its address"
            )
    return bytes(content)


def usage_record(endpoint: Endpoint, cost: Cost) -> dict[str, Any]:
    """Return the cost of a command as a record."""
    return {"model": endpoint.argument, **asdict(cost)}


def _key(endpoint: Endpoint) -> str:
    """Return the key for a server: HOLDFAST_API_KEY; OPENAI_API_KEY is for its owner's servers alone. It never leaves the headers.

    Raises:
        ValueError: it could not stand in a header.
    """
    variable = "HOLDFAST_API_KEY"
    if not os.environ.get(variable) and (endpoint.host == "openai.com" or endpoint.host.endswith(".openai.com")):
        variable = "OPENAI_API_KEY"
    key = os.environ.get(variable, "").strip()
    # A line break within it, as of a file with two keys, would otherwise be reported as a broken connection.
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"{variable}: has characters that no key has; set it anew")
    return key


def _digest(url: str, body: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{url} {json.dumps(body, sort_keys=True)}".encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the answers of a command that was stopped, and say that they are used; a line that a kill cut is left out."""
    answers: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            answers[record["key"]] = record["answer"]
        except (ValueError, KeyError, TypeError):
            continue
    if answers:
        text = f"holdfast: {len(answers)} answers that came before a command was stopped are used again; remove {path} to ask anew"
        print(text, file=sys.stderr, flush=True)
    return answers


def _seconds(header: str | None) -> float:
    """Return the seconds of a Retry-After header; 0 where there is none, or a date."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0

"""A small server of the OpenAI protocol with faults on demand, written apart from `holdfast.serving`: the two sides share no mistake."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = str | None


@dataclass
class FaultServer:
    """`write(body)` is the text of an answer; `fault(number, body)` names what happens to the request of that number, from 1 on."""

    write: Callable[[dict[str, Any]], str]
    fault: Callable[[int, dict[str, Any]], Fault] = lambda number, body: None
    port: int = 0
    elsewhere: str = ""  # where a redirect leads to
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most: int = 0  # requests at the same time
    _running: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.bodies.append(body)
            self.paths.append(handler.path)
            self.times.append(time.monotonic())
            self.keys.append(handler.headers.get("Authorization"))
            number = len(self.bodies)
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            self._send(handler, body, self.fault(number, body))
        finally:
            with self._lock:
                self._running -= 1

    def _send(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], fault: Fault) -> None:
        if fault == "late":
            time.sleep(1.0)
        if fault == "hang up":
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        if fault and fault.isdigit():
            message = {
                "error": {"message": f"fault {fault}\x1b[2J of {handler.headers.get('Authorization')}", "code": None}
            }
            more = {"429": {"Retry-After": "0.3"}, "302": {"Location": self.elsewhere}}
            self._reply(handler, int(fault), json.dumps(message), more.get(fault, {}))
            return
        if handler.path.endswith("/chat/completions"):
            choice: dict[str, Any] = {"message": {"role": "assistant", "content": self.write(body)}}
        else:
            choice = {"text": self.write(body), "logprobs": None}
        content = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        if fault == "no JSON":
            content = "<html>busy</html>"
        if fault == "deep":
            content = "[" * 100_000
        if fault == "no choices":
            content = '{"choices": []}'
        self._reply(handler, 200, content, {}, cut=fault == "truncated")

    def _reply(
        self, handler: BaseHTTPRequestHandler, state: int, content: str, headers: dict[str, str], cut: bool = False
    ) -> None:
        handler.send_response(state)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2].encode() if cut else content.encode())
        if cut:
            handler.close_connection = True


@contextmanager
def running(server: FaultServer) -> Iterator[FaultServer]:
    """Run the server on its port (0: a free one) while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            server.answer(self)

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that went away

    listening = Quiet(("127.0.0.1", server.port), Handler)
    server.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()

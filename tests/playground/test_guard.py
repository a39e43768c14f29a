"""The playground's server: by its own address, without files, short; asked over HTTP as a page elsewhere, or curl, would."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.playground.guard import LOCAL, MOST_BYTES, PlaygroundGuard, is_loopback

SERVER = """
from types import SimpleNamespace
from holdfast.playground.page import serve
bench = SimpleNamespace(name="run", verdict="kept", models={"Base": None}, tasks={}, samples=[])
_, address = serve(bench, host="127.0.0.1", port=None, wait=False)
print(address, flush=True)
input()
"""


def asked(
    path: str = "/", body: list[bytes] | None = None, scheme: str = "http", hosts: Any = LOCAL, **headers: str | None
) -> Any:
    """Return the status that the guard gives, 200 where the request reaches the page, and what the page read of the body."""
    sent: list[dict[str, Any]] = []
    reached: list[bytes] = []
    parts = [{"type": "http.request", "body": part, "more_body": True} for part in body or [b""]]

    async def page(scope: Any, receive: Any, send: Any) -> None:
        for _ in parts:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            reached.append(message["body"])
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> Any:
        return parts[len(reached)]

    async def send(message: Any) -> None:
        sent.append(message)

    lines = {"host": "127.0.0.1:7860"} | {name: value for name, value in headers.items() if value is not None}
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in lines.items()]
    scope = {"type": scheme, "path": path, "headers": pairs}
    asyncio.run(PlaygroundGuard(page, hosts)(scope, receive, send))
    return (sent[0].get("status", sent[0].get("code")) if sent else None), b"".join(reached)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST:7860", "127.0.0.1"])
@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:7860", "http://localhost:7860"])
def test_a_request_for_this_machine_passes(host: str, origin: str | None) -> None:
    assert asked(host=host, origin=origin)[0] == 200


NAMES = [
    "evil.example:7860",
    "127.0.0.1.evil.example",
    "localhost.evil",
    "[::2]:1",
    "",
    "127.0.0.1@evil",
    "[",
    "0.0.0.0",
    "é",
]


@pytest.mark.parametrize("host", NAMES)
def test_a_name_that_points_here_is_refused(host: str) -> None:
    assert asked(host=host)[0] == 403
    assert asked(host=host, scheme="websocket")[0] == 1008


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "file://", ""])
def test_a_page_elsewhere_is_refused(origin: str) -> None:
    assert asked(origin=origin)[0] == 403


@pytest.mark.parametrize("path", ["/upload", "/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/file=/etc/passwd"])
def test_files_neither_come_nor_go(path: str) -> None:
    assert asked(path)[0] == 403
    assert asked(path, hosts=())[0] == 403


@pytest.mark.parametrize("length", [str(MOST_BYTES + 1), "-1", "x", "9" * 400])
def test_a_body_that_says_it_is_long_is_refused(length: str) -> None:
    assert asked(content_length=length)[0] == 413


def test_a_body_that_does_not_say_so_is_cut() -> None:
    assert asked(body=[b"x" * (MOST_BYTES // 2)])[0] == 200
    status, read = asked(body=[b"x" * (MOST_BYTES // 2)] * 5)
    assert status is None
    assert len(read) <= MOST_BYTES


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The real page, in a process of its own: Gradio leaves event loops behind, which other tests would be blamed for."""
    pytest.importorskip("gradio", reason="the extra `playground` is not installed")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip().rstrip("/")
        server.kill()


def status(address: str, path: str, body: bytes | None = None, **headers: str) -> int:
    request = urllib.request.Request(address + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_page_itself_stands_behind_the_guard(address: str) -> None:
    port, form = address.rpartition(":")[2], {"Content-Type": "application/json"}
    assert status(address, "/") == status(address, "/config") == 200
    assert status(address, "/", Host=f"localhost:{port}", Origin=address) == 200
    for path in ("/", "/config", "/gradio_api/info"):
        assert status(address, path, Host=f"evil.example:{port}") == 403
    body = json.dumps({"data": ["x", "plain text", 0, 8], "fn_index": 0, "session_hash": "a"}).encode()
    assert status(address, "/gradio_api/queue/join", body, Origin="http://evil.example", **form) == 403
    assert status(address, "/gradio_api/upload", b"x", **{"Content-Type": "multipart/form-data; boundary=x"}) == 403
    assert status(address, "/gradio_api/file=/etc/passwd") == 403
    assert status(address, "/gradio_api/queue/join", b"x" * (2 << 20), **form) == 413
    began = time.monotonic()
    for _ in range(40):
        status(address, "/gradio_api/queue/join", body, **form)
    assert time.monotonic() - began < 60, "a full queue answers at once"


def test_a_long_question_is_refused_before_it_is_tokenised() -> None:
    from holdfast.playground.bench import LONGEST_INPUT
    from holdfast.playground.bench import Bench as RealBench

    with pytest.raises(ValueError, match="at most"):
        RealBench("run", "kept", {}, {}, []).prompt("x" * (LONGEST_INPUT + 1), "", 0)


HOSTS = [
    ("127.0.0.1", True),
    ("localhost", True),
    ("::1", True),
    ("0.0.0.0", False),
    ("192.168.0.2", False),
    ("box", False),
]


@pytest.mark.parametrize(("host", "local"), HOSTS)
def test_addresses_that_other_machines_reach_are_told_apart(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_other_machines_need_a_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio", reason="the extra `playground` is not installed")
    from types import SimpleNamespace

    from gradio import Blocks

    from holdfast.playground.page import serve

    launched: dict[str, Any] = {}

    def launch(self: Any, **options: Any) -> Any:
        launched.update(options)
        return None, "http://here", None

    monkeypatch.setattr(Blocks, "launch", launch)
    bench: Any = SimpleNamespace(name="run", verdict="kept", models={"Base": None}, tasks={}, samples=[])
    serve(bench, host="0.0.0.0", port=None, wait=False)
    assert len(launched["auth"][1]) >= 16
    assert launched["auth"][1] in capsys.readouterr().out
    serve(bench, host="127.0.0.1", port=None, wait=False)
    assert launched["auth"] is None

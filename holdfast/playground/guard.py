"""The door of the playground's server: requests for other hosts, from other sites, of files, and of endless length stay outside.

A page elsewhere can let its own name point to 127.0.0.1 and then reads what a server here answers (DNS rebinding); the name it uses
stands in the header `Host`, which is therefore looked at.
"""

import ipaddress
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

MOST_BYTES = 1 << 20  # of a request's body
LOCAL = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Return whether nobody on another machine can reach a server that listens at this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class PlaygroundGuard:
    """ASGI middleware that lets in what comes by one of `hosts` (any, where there are none), uploads nothing and is short."""

    def __init__(self, app: Any, hosts: Iterable[str] = ()) -> None:
        self.app, self.hosts = app, frozenset(hosts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it in one line."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self.hosts and not self._known(headers):
            await _refuse(scope, send, 403, "this server answers to its own address alone")
        elif "/upload" in scope["path"] or "/file" in scope["path"].rpartition("/gradio_api")[2][:6]:
            await _refuse(scope, send, 403, "this page takes and gives no files")
        elif not headers.get("content-length", "0").isdigit() or int(headers.get("content-length", "0")) > MOST_BYTES:
            await _refuse(scope, send, 413, f"a request has at most {MOST_BYTES} bytes")
        else:
            await self.app(scope, _limited(receive), send)

    def _known(self, headers: dict[str, str]) -> bool:
        """Return whether the request is for one of the hosts, and from a page of one of them where it says from which."""
        origin = headers.get("origin")
        hosts = [_host(headers.get("host", ""))] + ([] if origin is None else [urlsplit(origin).hostname or ""])
        return all(host in self.hosts for host in hosts)


def _host(header: str) -> str:
    """Return the name in a `Host` header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _limited(receive: Any) -> Any:
    """Return a `receive` that ends a body which is longer than it said."""
    left = MOST_BYTES

    async def limited() -> Any:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return limited


async def _refuse(scope: Any, send: Any, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})

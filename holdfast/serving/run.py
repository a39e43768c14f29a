"""Start the server and end it: the socket, the addresses it answers to, and what it says on stderr."""

import json
import os
import shlex
import socket
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from holdfast.results.visible import visible, visible_json
from holdfast.serving.hosts import EVERYWHERE, LOOPBACK
from holdfast.serving.roster import Roster
from holdfast.serving.trial import Trial

PATIENCE = 5  # seconds that running requests have when the server is asked to end
LONGEST_ANSWER = 60  # characters of a right answer that are shown


def check_packages() -> None:
    """Refuse to begin without the web packages, before any model is loaded.

    Raises:
        ValueError: one is missing.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ValueError(f"serving needs {error.name}; pip install 'holdfast[serve]'") from error


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0 is a free one.

    Raises:
        ValueError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # On Windows it would let two servers have one port.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        # At once: until a socket listens, a second server may bind the same port; and who connects early waits until the model is loaded.
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ValueError(
            f"{host}:{port}: {(error.strerror or str(error)).lower()}; choose another --port (0: a free one)"
        ) from None
    return listening


def web_server(worker: Any, hosts: Sequence[str] = LOOPBACK, key: str = "") -> Any:
    """Return uvicorn's server of a worker's models; `hosts` are the names it answers to (any, where there is none)."""
    import uvicorn

    from holdfast.serving.app import Service

    application = Service(worker).application(hosts, key)
    settings = uvicorn.Config(
        application, log_level="error", access_log=False, ws="none", lifespan="off", timeout_graceful_shutdown=PATIENCE
    )
    return uvicorn.Server(settings)


def curl(address: str, model: str, trial: Trial, key: bool = False) -> str:
    """Return a command that asks a model of the server a question, ready to be pasted into a shell."""
    body = {"model": model, "prompt": trial.prompt, "max_tokens": trial.max_tokens, "temperature": 0}
    body |= {"stop": list(trial.stop)} if trial.stop else {}
    # A terminal obeys no control character of a task's text, and JSON has an escape for each.
    question = visible_json(json.dumps(body, ensure_ascii=False))
    wanted = ' -H "Authorization: Bearer $HOLDFAST_API_KEY"' if key else ""
    return f"curl -sS {address}/completions -H 'Content-Type: application/json'{wanted} -d {shlex.quote(question)}"


def serve(roster: Roster, listening: socket.socket) -> None:
    """Answer requests until the process is interrupted or asked to end."""
    from holdfast.serving.worker import Worker

    host, port = listening.getsockname()[:2]
    key = os.environ.get("HOLDFAST_API_KEY", "").strip()
    # Who lets other machines in cannot know by which names they call this one.
    hosts = () if host in EVERYWHERE else tuple({host, *LOOPBACK})
    worker = Worker(roster)
    # Loaded before the first request comes: a model that cannot be should end the command.
    roster.model(roster.names[0])
    shown = f"[{host}]" if ":" in host else host
    for name in roster.names:
        print(f"holdfast: model {name}: {roster.words[name]}", file=sys.stderr)
    if not hosts and not key:
        print("holdfast: whoever reaches this machine can ask; set HOLDFAST_API_KEY to want a key", file=sys.stderr)
    print(f"holdfast: http://{shown}:{port}/v1 (Ctrl-C ends it)", file=sys.stderr)
    # An address that means all of them is none that a client could ask.
    ready = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else shown
    trial = roster.trial
    answer = textwrap.shorten(trial.target, LONGEST_ANSWER, placeholder=" ...")
    known = f" a test question of {trial.task}, whose answer is {answer!r}" if trial.task else ""
    command = curl(f"http://{ready}:{port}/v1", roster.names[0], trial, bool(key))
    print(f"holdfast: try{visible(known)}:\n{command}", file=sys.stderr, flush=True)
    try:
        web_server(worker, hosts, key).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn has ended well, and raises it once more.
        pass
    finally:
        worker.close()
        listening.close()

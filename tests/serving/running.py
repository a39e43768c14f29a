"""`holdfast serve` in this process, on a free port, while a block runs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast.serving.roster import Roster
from holdfast.serving.run import bound, web_server
from holdfast.serving.worker import Worker


@contextmanager
def running(roster: Roster, **options: Any) -> Iterator[str]:
    """Yield the address of a server with these models, `/v1` included."""
    listening, worker = bound("127.0.0.1", 0), Worker(roster)
    server = web_server(worker, **options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
        worker.close()
        listening.close()

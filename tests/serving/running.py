"""`holdfast serve` in this process, on a free port, while a block runs."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.lab import world
from holdfast.serving.roster import Roster
from holdfast.serving.run import bound, web_server
from holdfast.serving.worker import Worker
from holdfast.tasks.text.templates import render


def write_choices(folder: Path, items: int = 30) -> Path:
    """Write a task that is ranked: the lab's counting, with all its answers as choices."""
    task = world.task("count")
    examples = {"train": task.splits["train"][:8], "test": task.splits["test"][:items]}
    choices = sorted({example.target for example in task.splits["train"]})
    folder.mkdir(parents=True)
    for split, rows in examples.items():
        lines = [
            json.dumps({"text": render(task.template, example).prompt, "target": example.target, "choices": choices})
            for example in rows
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    settings = {"input": "{{ text }}", "target": "target", "choices": "choices", "delimiter": task.template.delimiter}
    (folder / "task.yaml").write_text(json.dumps({**settings, "separator": task.template.separator}))
    return folder


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

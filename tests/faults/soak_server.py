"""`holdfast serve` under load for minutes: memory, open files, threads and temporary files of its process stay flat.

`python -m tests.faults.soak_server --seconds 600` (`make serve-load`); its table goes into docs/reliability.md.

Clients ask all the time: whole answers, streamed ones, streams whose reader goes away in the middle, and requests that are refused.
Every whole answer is compared with what the same question got alone.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.faults.soak import Look, growth

LEAK = 1.0  # MB per 1,000 requests: what a request held for good would be, of 1 KB each
QUESTIONS = 40
WORDS = ["the", "bird", "count", "words", "text:", "train", "lemon", "answer:", "two", "spade", "king", "runs"]


@dataclass
class Load:
    """What clients do until `until`: counts by sort of request, wrong answers, and errors that should not be."""

    url: str
    name: str
    expected: dict[str, str]
    until: float
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, number: int) -> None:
        """Be one client."""
        rng = random.Random(number)
        sorts = {"whole": self.whole, "stream": self.stream, "left": self.left, "refused": self.refused}
        with httpx.Client(base_url=self.url, timeout=120) as client:
            while time.monotonic() < self.until:
                sort = rng.choices(list(sorts), [6, 2, 1, 1])[0]
                question = rng.choice(list(self.expected))
                try:
                    sorts[sort](client, question)
                except (httpx.HTTPError, AssertionError) as error:
                    with self.lock:
                        self.faults.append(f"{sort}: {type(error).__name__} {error}")
                with self.lock:
                    self.counts[sort] += 1

    def body(self, question: str, **more: object) -> dict[str, object]:
        """Return a request for a continuation."""
        return {"model": self.name, "prompt": question, "max_tokens": 12, "temperature": 0, **more}

    def whole(self, client: httpx.Client, question: str) -> None:
        """Ask and wait."""
        answer = client.post("/completions", json=self.body(question))
        assert answer.status_code == 200, answer.text[:200]
        assert answer.json()["choices"][0]["text"] == self.expected[question]

    def stream(self, client: httpx.Client, question: str) -> None:
        """Read a stream to its end."""
        with client.stream("POST", "/completions", json=self.body(question, stream=True)) as answer:
            texts = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
        said = "".join(choice["text"] for text in texts for choice in json.loads(text)["choices"])
        assert said == self.expected[question], said

    def left(self, client: httpx.Client, question: str) -> None:
        """Go away behind the first piece of a stream."""
        with client.stream("POST", "/completions", json=self.body(question, stream=True, max_tokens=64)) as answer:
            next(answer.iter_lines(), None)

    def refused(self, client: httpx.Client, question: str) -> None:
        """Ask for what the server refuses."""
        answer = client.post("/completions", json=self.body(question, max_tokens=-1))
        assert 400 <= answer.status_code < 500, answer.status_code


@contextmanager
def serving(model: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the address and the process of a server whose temporary files lie in `folder`/tmp, and its log beside them."""
    (folder / "tmp").mkdir()
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-W", "ignore", "-m", "holdfast", "serve", model, "--port", "0"]
        process = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ | {"TMPDIR": str(folder / "tmp")})
        try:
            while not (lines := [line for line in (folder / "log").read_text().splitlines() if "/v1" in line]):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            yield lines[0].split()[1], psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()


def look(process: psutil.Process, folder: Path, requests: int) -> Look:
    """Look at the server."""
    temporary = sum(1 for _ in (folder / "tmp").rglob("*"))
    memory = process.memory_info().rss / 2**20
    return Look(requests, memory, process.num_fds(), process.num_threads(), temporary)


def faults(looks: Sequence[Look], load: Load) -> list[str]:
    """Return what is not flat, or was answered wrongly; nothing where all is well."""
    wrong = [f"{len(load.faults)} requests went wrong, the first: {load.faults[0]}"] if load.faults else []
    slope = 1000 * growth(looks)
    if slope > LEAK:
        wrong.append(f"memory grows by {slope:.2f} MB per 1,000 requests")
    settled = looks[len(looks) // 5 :]
    for name in ("files", "threads", "temporary"):
        values = [getattr(one, name) for one in settled]
        half = len(values) // 2
        # A connection more or less is open at a look; what is never closed makes the whole second half higher.
        if min(values[half:]) > max(values[:half]):
            wrong.append(
                f"{name}: {max(values[:half])} at most in the first half, {min(values[half:])} at least in the second"
            )
    return wrong


def soak(folder: Path, model: str, seconds: float, clients: int, every: float) -> tuple[list[Look], Load]:
    """Load a server for so many seconds, and look at it every few."""
    with serving(model, folder) as (url, process):
        draws = random.Random(0)
        texts = [" ".join(draws.choices(WORDS, k=draws.randint(6, 40))) for _ in range(QUESTIONS)]
        with httpx.Client(base_url=url, timeout=120) as client:
            load = Load(url, client.get("/models").json()["data"][0]["id"], {}, 0.0)
            for text in texts:
                load.expected[text] = client.post("/completions", json=load.body(text)).json()["choices"][0]["text"]
        began = time.monotonic()
        load.until = began + seconds
        threads = [threading.Thread(target=load.run, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        looks: list[Look] = []
        for number in itertools.count(1):
            time.sleep(max(0.0, min(began + number * every, load.until) - time.monotonic()))
            looks.append(look(process, folder, load.counts.total()))
            if time.monotonic() >= load.until:
                break
        for thread in threads:
            thread.join()
    return looks, load


def main() -> None:
    """Print what was seen, one look a line, and exit with 1 where something is not flat."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="lab")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--every", type=float, default=20, help="Seconds between two looks.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        looks, load = soak(Path(name), chosen.model, chosen.seconds, chosen.clients, chosen.every)
    for one in looks:
        print(json.dumps(asdict(one)))
    wrong = faults(looks, load)
    print(json.dumps({"seconds": chosen.seconds, "clients": chosen.clients, "requests": dict(load.counts),
                      "mb_per_1000_requests": round(1000 * growth(looks), 3), "faults": wrong}))  # fmt: skip
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

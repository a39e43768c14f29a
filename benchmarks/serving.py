"""Load on `holdfast serve`: clients at the same time, the server's memory along hundreds of requests, a kill and a restart.

    python -m benchmarks.serving [--model lab] [--clients 32] [--rounds 8]

A server of its own runs as a process; each client sends the next question once it has its answer. Every answer is compared with what the
same question got alone (`wrong` must be 0). Memory is the server's resident set after each round of 100 questions.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

ROUND = 100  # questions
NEW = (4, 8, 16, 32)  # tokens asked for; each question has its own number


@contextmanager
def server(model: str, port: int = 0) -> Iterator[tuple[str, "subprocess.Popen[str]", float]]:
    """Yield the address of a server, its process, and the seconds until it said its address."""
    began = time.monotonic()
    line = [sys.executable, "-W", "ignore", "-m", "holdfast", "serve", model, "--port", str(port)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        said = next(line for line in process.stderr if "/v1" in line)
        yield said.split()[1], process, time.monotonic() - began
    finally:
        process.kill()
        process.wait()


def questions(count: int) -> list[dict[str, Any]]:
    """Return requests whose prompts all differ."""
    draws = random.Random(0)
    words = ["the", "bird", "count", "words", "text:", "train", "lemon", "answer:", "two", "spade", "king", "runs"]
    texts = [" ".join(draws.choices(words, k=draws.randint(6, 40))) + f" {'the ' * (i % 7)}" for i in range(count)]
    return [{"prompt": text, "max_tokens": draws.choice(NEW), "temperature": 0} for text in texts]


def ask(client: httpx.Client, name: str, body: dict[str, Any]) -> tuple[str, float]:
    """Return an answer and the seconds that it took."""
    began = time.monotonic()
    answer = client.post("/completions", json={"model": name, **body})
    answer.raise_for_status()
    return answer.json()["choices"][0]["text"], time.monotonic() - began


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile."""
    return {
        "median_s": round(statistics.median(seconds), 3),
        "p95_s": round(sorted(seconds)[int(0.95 * len(seconds))], 3),
    }


def lines(path: Path) -> int:
    """Return the number of answers in a file of those that came."""
    return sum(map(bool, path.read_text().splitlines())) if path.exists() else 0


def evaluated(url: str, name: str, folder: Path, kill_at: int | None = None) -> tuple[int, str]:
    """Evaluate the served model; with `kill_at` the command is killed once so many answers have come."""
    line = [sys.executable, "-W", "ignore", "-m", "holdfast", "evaluate", f"openai:{url}#{name}", "--out", str(folder)]
    line += ["--task", "lab:count", "--task", "lab:from-zan", "--shots", "0", "--json"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if kill_at is not None:
        while process.poll() is None and lines(folder / "received.jsonl") < kill_at:
            time.sleep(0.01)
        process.kill()
    return process.wait(), (process.stderr.read() if process.stderr else "")


def main() -> None:
    """Print one record a measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="lab")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    chosen = parser.parse_args()
    with server(chosen.model) as (url, process, start):
        memory = psutil.Process(process.pid).memory_info
        with httpx.Client(base_url=url, timeout=600) as client:
            name = client.get("/models").json()["data"][0]["id"]
            bodies = questions(ROUND)
            began = time.monotonic()
            alone = [ask(client, name, body) for body in bodies]
            print(json.dumps({"start_s": round(start, 1), "clients": 1, "requests": ROUND, **quantiles([s for _, s in alone]),
                              "requests_per_s": round(ROUND / (time.monotonic() - began), 1)}))  # fmt: skip
            for number in range(chosen.rounds):
                began = time.monotonic()
                with ThreadPoolExecutor(chosen.clients) as pool:
                    answers = list(pool.map(lambda body: ask(client, name, body), bodies))
                wrong = sum(text != expected for (text, _), (expected, _) in zip(answers, alone, strict=True))
                record = {
                    "clients": chosen.clients,
                    "round": number + 1,
                    "wrong": wrong,
                    **quantiles([s for _, s in answers]),
                }
                record |= {"requests_per_s": round(ROUND / (time.monotonic() - began), 1)}
                print(json.dumps(record | {"server_mib": round(memory().rss / 2**20, 1)}), flush=True)
        port = int(url.rpartition(":")[2].removesuffix("/v1"))
        with tempfile.TemporaryDirectory() as folder:
            evaluated(url, name, Path(folder), kill_at=100)
            kept = lines(Path(folder) / "received.jsonl")
            process.kill()  # the server too
            process.wait()
            code, said = evaluated(url, name, Path(folder))
            print(json.dumps({"server": "killed", "exit": code, "says": said.strip().splitlines()[-1]}))
            with server(chosen.model, port) as (url, _, start):
                code, said = evaluated(url, name, Path(folder))
                print(
                    json.dumps(
                        {
                            "server": "again",
                            "start_s": round(start, 1),
                            "exit": code,
                            "kept": kept,
                            "says": said.strip().splitlines()[-1],
                        }
                    )
                )


if __name__ == "__main__":
    main()

"""Kill commands at seeded moments, give each again until it ends, and compare all that it left with an uninterrupted run's.

`python -m tests.faults.kills --kills 200 --seed 0` is the long campaign of `make faults`; its table goes into docs/reliability.md.
"""

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast.tasks.formats.stored import LARGE
from holdfast.tasks.sources import load_task
from tests.faults.server import Ended, Job

SHORT = ["--shots", "0", "--limit", "4", "--general", "lab:count"]
STEPS = ["steps=4", "batch_size=4", "save_every=1", "validation_limit=4", "dropout=0.1"]


def _set(stage: str) -> list[str]:
    options = [["--set", f"{stage}.{value}"] for value in STEPS]
    return [part for pair in options for part in pair]


TUNE = ["tune", "lab", "lab:elicit-sentiment", *SHORT, *_set("model")]
ITEMS = 2300  # Of the task of `many`: three parts of answers; its file stays on the disk, which those above 4 MB do.
# OUT stands for the folder of the case, BASE for one with a finished run of `tune` and a task of many items.
CASES = {
    "tune": [*TUNE, "--method", "promot", *_set("prompt"), "--set", "prompt.length=4", "--curve", "2", "--out", "OUT/run"],
    "curate": [*TUNE, "--method", "fticl", "--curate", "mix", "--set", "curate.size=40", "--out", "OUT/run"],
    "edit": ["edit", "lab", "BASE/run", "--edit", "dare", "--set", "density=0.5", "--out", "OUT/model"],
    "evaluate": ["evaluate", "BASE/run", "--task", "lab:count", "--task", "lab:elicit-sentiment", "--shots", "0,1", "--limit", "6",
                 "--out", "OUT/scores"],
    "many": ["evaluate", "BASE/run", "--task", "BASE/many", "--shots", "0", "--out", "OUT/scores"],
    "study": ["study", "lab", "--method", "full", "--method", "lora", "--target", "lab:elicit-sentiment", "--seeds", "2",
              "--general", "lab:count",
              "--shots", "0", "--limit", "4", "--set", "model.steps=2", "--set", "model.save_every=1", "--set", "model.batch_size=4",
              "--set", "model.validation_limit=4", "--out", "OUT/study"],
}  # fmt: skip
# Parts of the kills: a study costs the processor fifty times as much as an edit.
SHARES = {"edit": 0.3, "evaluate": 0.15, "many": 0.15, "tune": 0.2, "study": 0.1, "curate": 0.1}
# What differs between two uninterrupted runs as well: times, and the locks and logs of terminals.
TIMES = re.compile(rb'"(tokens_per_second|seconds)": [0-9.e+-]+')
FINISHED = "exists and is not empty; give another folder for the edited model"
IGNORED = re.compile(r"(^|/)(\.lock|logs/.*|.*\.part(/.*)?)$")


@dataclass
class Tally:
    """The kills of a case, and what came of them."""

    kills: int = 0
    runs: int = 0
    identical: int = 0
    different: list[str] = field(default_factory=list)
    left: set[str] = field(default_factory=set)  # names of unfinished files that the finished run did not remove
    seconds: float = 0.0  # of the processor


class Runner:
    """A server that runs jobs, in a folder for their results."""

    def __init__(self, root: Path, process: "subprocess.Popen[str]") -> None:
        self.root, self.process, self.seconds = root, process, 0.0

    def run(self, argv: list[str], out: Path, *, event: int = 0, seconds: float = 0.0, **fault: Any) -> Ended:
        """Run a command in a folder; `fault` are the further fields of `Job`."""
        out.mkdir(parents=True, exist_ok=True)
        parts = [part.replace("OUT", str(out)).replace("BASE", str(self.root / "base")) for part in argv]
        job = Job(parts, str(out), str(self.root / f"{out.name}.log"), event, seconds, **fault)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(job)) + "\n")
        self.process.stdin.flush()
        ended = Ended(**json.loads(self.process.stdout.readline()))
        self.seconds += ended.seconds
        return ended

    def whole(self, argv: list[str], out: Path) -> Ended:
        """Run a command to its end, which must be a good one."""
        ended = self.run(argv, out)
        assert ended.code == 0, (self.root / f"{out.name}.log").read_text()[-3000:]
        return ended


@contextmanager
def runner(root: Path) -> Iterator[Runner]:
    """Start a server; `BASE/run` is finished when it is handed over."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HOLDFAST_CACHE": str(root / "cache"),
        "COLUMNS": "80",
        "PYTHONHASHSEED": "0",
    }
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        made = Runner(root, process)
        made.whole([*TUNE, "--method", "full", "--out", "OUT/run"], root / "base")
        _many_items(root / "base" / "many")
        yield made
        assert process.stdin is not None
        process.stdin.close()


def _many_items(folder: Path) -> None:
    """Write a task of questions that the lab's model reads, in a file that is too large to be held."""
    folder.mkdir()
    examples = load_task("lab:count").splits["test"]
    with (folder / "test.jsonl").open("w") as file:
        for number in range(ITEMS):
            example = examples[number % len(examples)]
            question = f"text: {example.fields['text']} answer:"
            line = {"input": question, "target": example.target, "note": f"{number} " + "-" * 1900}
            file.write(json.dumps(line) + "\n")
    assert (folder / "test.jsonl").stat().st_size > LARGE


def content(folder: Path) -> dict[str, str]:
    """Return the hash of each file, without times and without the folder's own path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not IGNORED.search(name):
            data = path.read_bytes()
            if path.suffix != ".safetensors":
                data = TIMES.sub(b"", data).replace(str(folder).encode(), b"OUT")
                data = _without_hashes_of_times(data) if path.name == "done.json" else data
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def _without_hashes_of_times(data: bytes) -> bytes:
    """Return a stage's mark without the hash of its log, which holds times."""
    return re.sub(rb'"log.jsonl": "[0-9a-f]+"', b"", data)


def campaign(made: Runner, name: str, kills: int, seed: int, chain: int = 6) -> Tally:
    """Kill a command `kills` times, at most `chain` times in each of its runs, and compare every run with an uninterrupted one."""
    draw, tally, before = random.Random(f"{name}:{seed}"), Tally(), made.seconds
    reference = made.root / "whole" / name
    ended = made.whole(CASES[name], reference)
    expected = content(reference)
    while tally.kills < kills:
        out = made.root / f"{name}-{seed}-{tally.runs}" / name
        tally.runs += 1
        for _ in range(min(draw.randint(1, chain), kills - tally.kills)):
            # By operation, to hit between any two of them; by time, to hit inside of what no operation of Python's shows.
            if draw.random() < 0.6:
                killed = made.run(CASES[name], out, event=draw.randint(1, ended.events))
            else:
                killed = made.run(CASES[name], out, seconds=draw.uniform(0.05, 1.0) * ended.seconds)
            if killed.code >= 0:  # It ended before: what was left to do was less.
                break
            tally.kills += 1
        ended_after = made.run(CASES[name], out)
        # An edit that was killed behind its last move is finished, and `edit` never writes over a model.
        refused = FINISHED in (made.root / f"{out.name}.log").read_text()
        assert ended_after.code == 0 or refused, (made.root / f"{out.name}.log").read_text()[-3000:]
        left = content(out)
        wrong = sorted(name for name in left.keys() | expected.keys() if left.get(name) != expected.get(name))
        tally.identical += not wrong
        tally.different += [f"run {tally.runs - 1}: {', '.join(wrong)}"] if wrong else []
        tally.left |= {path.name for path in out.rglob("*.part")}
    tally.seconds = made.seconds - before
    return tally


def main() -> None:
    """Print a line for each case, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all, parted among the commands by SHARES")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", nargs="*", choices=CASES, default=list(SHARES))
    arguments = parser.parse_args()
    began, total, wrong = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder, runner(Path(folder)) as made:
        for name in arguments.case:
            tally = campaign(made, name, round(arguments.kills * SHARES[name]), arguments.seed)
            total, wrong = total + tally.kills, wrong + len(tally.different)
            text = f"{name}: {tally.kills} kills in {tally.runs} runs, {tally.identical} identical, {tally.seconds:.0f} s of the processor"
            print(
                text, *tally.different, f"unfinished files left: {sorted(tally.left) or 'none'}", sep="\n  ", flush=True
            )
    print(f"{total} kills, {wrong} runs differ, {time.monotonic() - began:.0f} s")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

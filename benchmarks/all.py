"""Every benchmark of this machine's processor, one after another, into one file: `make bench`.

    python -m benchmarks.all [--small] [--cpu-time] [--model FOLDER] [--bf16] [--out FILE] [NAME...]

Each runs in a process of its own and within its own time; one that fails, or is not done in time, loses nothing but what it had not
yet printed. The file is `benchmarks/results/<date>-cpu.json`: the results, the machine, the libraries, and the commit.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMITS = {
    "start": 90,
    "whole": 200,
    "limit": 110,
    "training": 380,
    "memory": 170,
    "scoring": 210,
    "generation": 190,
    "edits": 210,
    "scaling": 170,
    "grpo": 240,
}
# The least ratio, by what a result is called: its benchmark and its case.
GOALS = (
    (r"start: ", 4.0),
    (r"training step: stage 1 .* T=32$", 6.0),
    (r"training step: stage 1 .* T=128$", 3.0),
    (r"training step: stage 2 .* T=32$", 4.0),
    (r"training step: stage 2 .* T=128$", 2.0),
    (r"training step: full ragged ", 1.3),
    (r"training step: ideal, ", 1 / 1.25),
    (r"few-shot scoring: \d+-shot first_n", 8.0),
    (r"few-shot scoring: \d+-shot default", 3.0),
    (r"few-shot generation: ", 3.0),
    (r"limit: fp32 stage 2 ", 0.65),
    (r"limit: bf16 against fp32", 1.4),
    (r"memory: ", 1 / 0.6),
    (r"edits: \w+ bytes above the start", 1 / 3),
    (r"edits: \w+ seconds", 1 / 1.5),
    (r"whole: ", 1 / 1.15),
    (r"training step: \S+ stage \d rte\S* .* B=8", 3.6),
    (r"training step: \S+ stage 1 sst2 .* B=16", 6.0),
    (r"training step: \S+ stage 2 sst2 .* B=16", 5.0),
    (r"training step: \S+ full .* B=\d+ T=\S+$", 2.1),
    (r"training step: \S+ full .* against transformers", 1.9),
)
# What both sides' results may differ by. bfloat16 against float32, 8 bits of a loss; mergekit's arithmetic in bfloat16. All
# others: float32 noise on logits of the order of 10.
EQUAL = {"limit": 0.05, "edits": 0.05}
NOISE = 1e-3
TOTAL = 28 * 60  # Seconds for all of them.
LIBRARIES = ("torch", "transformers", "peft", "trl", "lm_eval", "mergekit")


def run(name: str, options: list[str], limit: float) -> tuple[list[dict[str, Any]], str]:
    """One benchmark: its results, and what went wrong, if anything did."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *options]
    try:
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, timeout=limit)
        printed, wrong = done.stdout, ""
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            wrong = lines[-1] if lines else f"ended with {done.returncode}"
    except subprocess.TimeoutExpired as stopped:
        printed, wrong = stopped.stdout or b"", f"was not done after {limit:.0f} s"
    results = [
        json.loads(line) for line in printed.decode().splitlines() if line.startswith("{") and line.endswith("}")
    ]
    return results, wrong


def judged(result: dict[str, Any]) -> dict[str, Any]:
    """A result with whether both sides computed the same and, where there is a goal for its ratio, whether it was met."""
    called = f"{result['benchmark']}: {result['case']}"
    equal = result["max_difference"] <= EQUAL.get(result["benchmark"], NOISE)
    goal = next((least for name, least in GOALS if re.match(name, called)), None)
    return {**result, "equal": equal, "goal": goal, "met": None if goal is None else equal and result["ratio"] >= goal}


def line(result: dict[str, Any]) -> str:
    """For people."""
    goal = "" if result["goal"] is None else f"  goal {result['goal']:.2f}x {'met' if result['met'] else 'MISSED'}"
    return (
        f"{result['benchmark'] + ': ' + result['case']:<72} {result['ours']:<9.4g} {result['theirs']:<9.4g} "
        f"{result['ratio']:6.2f}x{goal}{'' if result['equal'] else '  RESULTS DIFFER'}"
    )


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            found[name] = "not installed"
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **found,
    }


def commit() -> str:
    """The commit of the scripts and of what they measure; with a plus sign where files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=HERE.parent, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "benchmarks", "holdfast")
    return git("log", "-1", "--format=%h", "--", "benchmarks", "holdfast") + ("+" if changed else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description=str(__doc__).partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(LIMITS)}; all of them by default")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; the ratios mean less")
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of the clock")
    parser.add_argument("--model", type=Path, help="a pretrained model's folder, in the place of random weights")
    parser.add_argument("--bf16", action="store_true", help="training steps under bfloat16 autocast")
    parser.add_argument("--out", type=Path, help="the file to write")
    given = parser.parse_args()
    for name in given.names:
        if name not in LIMITS:
            parser.error(f"{name}: there is no such benchmark; use {', '.join(LIMITS)}")
    today = datetime.date.today().isoformat()
    suffix = f"-{given.model.name}" if given.model else ""
    out = given.out or HERE / "results" / f"{today}-cpu{suffix}.json"
    flags = [f"--{key.replace('_', '-')}" for key in ("small", "cpu_time", "bf16") if getattr(given, key)]
    options = [*flags, "--model", str(given.model.resolve())] if given.model else flags
    about = {"date": today, "commit": commit(), "options": flags, "machine": machine()}
    about |= {"model": given.model.name} if given.model else {}
    results, failed, began = [], {}, time.monotonic()
    for name in given.names or LIMITS:
        left = TOTAL - (time.monotonic() - began)
        found, wrong = run(name, options, min(LIMITS[name], left)) if left > 5 else ([], "no time was left")
        found = [judged(result) for result in found]
        results += found
        if wrong:
            failed[name] = wrong
        for result in found:
            print(line(result), flush=True)
        print(*([f"{name}: {wrong}"] if wrong else []), file=sys.stderr, flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(out.name + ".part")
        part.write_text(json.dumps({**about, "failed": failed, "results": results}, indent=1) + "\n")
        os.replace(part, out)
    met = [result["met"] for result in results if result["goal"] is not None]
    said = f"{out}: {len(results)} results, {sum(met)} of {len(met)} goals met"
    print(said + (f", {len(failed)} benchmarks failed" if failed else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

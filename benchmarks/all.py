"""Every benchmark of this machine's processor, one after another, into one file: `make bench`.

    python -m benchmarks.all [--small] [--cpu-time] [--out FILE] [NAME...]

Each runs in a process of its own and within its own time; one that fails, or is not done in time, loses nothing but what it had not
yet printed. The file is `benchmarks/results/<date>-cpu.json`: the results, the machine, the libraries, and the commit.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMITS = {"limit": 120, "training": 360, "memory": 180, "scoring": 240, "generation": 210, "edits": 240, "scaling": 210}
TOTAL = 24 * 60  # Seconds for all of them.
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
    parser.add_argument("--out", type=Path, help="the file to write")
    given = parser.parse_args()
    for name in given.names:
        if name not in LIMITS:
            parser.error(f"{name}: there is no such benchmark; use {', '.join(LIMITS)}")
    today = datetime.date.today().isoformat()
    out = given.out or HERE / "results" / f"{today}-cpu.json"
    options = [f"--{key.replace('_', '-')}" for key in ("small", "cpu_time") if getattr(given, key)]
    about = {"date": today, "commit": commit(), "options": options, "machine": machine()}
    results, failed, began = [], {}, time.monotonic()
    for name in given.names or LIMITS:
        left = TOTAL - (time.monotonic() - began)
        found, wrong = run(name, options, min(LIMITS[name], left)) if left > 5 else ([], "no time was left")
        results += found
        if wrong:
            failed[name] = wrong
        for result in found:
            ours, theirs = result["ours"], result["theirs"]
            print(
                f"{result['benchmark']}: {result['case']:<48} {ours:.4g} {theirs:.4g}  {result['ratio']:.2f}x",
                flush=True,
            )
        print(*([f"{name}: {wrong}"] if wrong else []), file=sys.stderr, flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(out.name + ".part")
        part.write_text(json.dumps({**about, "failed": failed, "results": results}, indent=1) + "\n")
        os.replace(part, out)
    print(f"{out}: {len(results)} results" + (f", {len(failed)} benchmarks failed" if failed else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

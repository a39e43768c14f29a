"""A study on real language, in one command on a machine with a GPU.

    python -m benchmarks.gpu_study --corpus DIR --tasks DIR --out build/gpu-study [--minutes 9]
    python -m benchmarks.gpu_study --model MODEL --plan docs/studies/real-first.yaml --tasks DIR --out build/real-first

With `--plan`, the arms and settings of a study's file on a pretrained model; a target or general task that is a folder of `--tasks` is
that folder. Without it, ProMoT against full fine-tuning:

Pretrains the large lab model (`holdfast.lab.pretrain --size large`; or takes `--model FOLDER`), then runs `holdfast study` on two
targets that pretraining has not shown, and writes what was found to `benchmarks/results/`. Stopped by `--minutes` or killed, the
same command goes on. `--small` is a trial of a minute or two, on a processor too.
"""

import argparse
import datetime
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from holdfast.lab.export import repository

TARGETS = ("rte", "multi30k_en_fr")
GENERAL = (
    "sst2",
    "agnews",
    "trec",
    "multi30k_en_de",
    "restaurant8k",
    "social_qa",
    "function_vectors/singular-plural",
    "function_vectors/choose_first_of_3",
)
RATES = [3e-5, 1e-4, 3e-4]
STEPS = 400
SMALL_MODEL = ("layers=2", "width=64", "heads=2", "inner=128", "tokens=2048", "micro=1024")
SMALL_STEPS = 20
LAST_WORDS = 30  # seconds that an interrupted study has to write its checkpoints


@dataclass
class Clock:
    """The time that one call may take, and the record of what earlier calls took."""

    log: Path
    until: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def run(self, what: str, command: Sequence[str]) -> int | None:
        """Run a command; None where the time ended first, and it was interrupted."""
        print(f"+ {shlex.join(command)}", file=sys.stderr, flush=True)
        # Before what is there already, and not in its place: libraries may stand there too.
        paths = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        start, environment = time.monotonic(), {**os.environ, "PYTHONPATH": paths}
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        code: int | None
        try:
            code = process.wait(None if self.until == float("inf") else max(0.0, self.left))
        except subprocess.TimeoutExpired:
            code = None
            _stop(process)
        except KeyboardInterrupt:
            _stop(process)
            raise
        with self.log.open("a") as file:
            file.write(json.dumps({"what": what, "seconds": round(time.monotonic() - start, 1), "code": code}) + "\n")
        return code


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a command and all that it started; end it where that does not help."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(LAST_WORDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def plan(model: Path, tasks: Path, small: bool) -> dict[str, Any]:
    """The study, as `holdfast study` reads it."""
    steps = 4 if small else STEPS
    rates = RATES[-1:] if small else RATES
    general = GENERAL[::4] if small else GENERAL
    return {
        "model": str(model),
        "targets": [str(tasks / name) for name in TARGETS],
        "general": [str(tasks / name) for name in general],
        "seeds": 1 if small else 3,
        "shots": [0, 1],
        "limit": 4 if small else 60,
        "curve": 1 if small else 3,
        "set": {f"{stage}.{key}": value for stage in ("model", "prompt") for key, value in
                {"steps": steps, "max_length": 512, "validation_limit": 8 if small else 60}.items()},
        "arms": {
            "full": {"model.learning_rate": rates},
            "promot": {"model.learning_rate": rates},
            "prompt_tuning": {},
        },
    }  # fmt: skip


def of_file(path: Path, model: Path, tasks: Path) -> dict[str, Any]:
    """The study of a file, on this model and on this machine's folders of tasks."""
    fields = yaml.safe_load(path.read_text())
    for role in ("targets", "general"):
        names = fields.get(role, [])
        fields[role] = [str(tasks / name) if (tasks / name).is_dir() else name for name in names]
    return fields | {"model": str(model)}


def pretrain(options: argparse.Namespace, clock: Clock, device: str) -> Path | None:
    """The large model's folder, trained if it is not there yet; None where the time ended first."""
    folder = options.out / "pretraining"
    if (folder / "model" / "manifest.json").exists():
        return folder / "model"
    command = [sys.executable, "-m", "holdfast.lab.pretrain", "--size", "large", "--device", device]
    command += ["--corpus", str(options.corpus), "--tasks", str(options.tasks), "--out", str(folder)]
    command += ["--commit", options.commit, "--threads", str(options.threads)]
    command += ["--items", "2" if options.small else "100"]
    if options.small:
        command += ["--steps", str(SMALL_STEPS), "--look-every", str(SMALL_STEPS)]
        command += [word for text in SMALL_MODEL for word in ("--set", text)]
    if options.minutes:  # which leaves it to write a checkpoint
        command += ["--minutes", f"{max(0.0, clock.left - LAST_WORDS) / 60:.2f}"]
    code = clock.run("pretraining", command)
    if code:
        raise SystemExit(f"gpu_study: the pretraining ended with {code}; its message is above")
    return folder / "model" if (folder / "model" / "manifest.json").exists() else None


def study(options: argparse.Namespace, clock: Clock, model: Path) -> bool:
    """Run the study; whether it came to its end."""
    path = options.out / "study.yaml"
    chosen = of_file(options.plan, model, options.tasks) if options.plan else plan(model, options.tasks, options.small)
    path.write_text(yaml.safe_dump(chosen, sort_keys=False))
    command = [sys.executable, "-m", "holdfast", "study", str(path), "--out", str(options.out / "study")]
    code = clock.run("study", [*command, "--jobs", str(options.jobs)])
    if code is None:
        return False
    if not (options.out / "study" / "study.jsonl").exists():
        raise SystemExit(f"gpu_study: the study ended with {code}; its message is above")
    return True


def base(folder: Path) -> dict[str, dict[str, float]]:
    """What the model could do before any of it: scores by task, and by shots and metric."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("runs/*/scores.jsonl")):
        for score in map(json.loads, path.read_text().splitlines()):
            if score["variant"] == "base":
                found.setdefault(score["task"], {})[f"{score['shots']} shots, {score['metric']}"] = score["value"]
    return found


def results(options: argparse.Namespace, model: Path, device: str) -> Path:
    """Write one file with everything that was found and how; returns its path."""
    calls = [json.loads(line) for line in (options.out / "calls.jsonl").read_text().splitlines()]
    manifest = model / "manifest.json"
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    found = {
        "benchmark": "gpu_study",
        "small": options.small,
        "commit": options.commit,
        "device": name,
        "torch": torch.__version__,
        "seconds": {what: sum(c["seconds"] for c in calls if c["what"] == what) for what in ("pretraining", "study")},
        "plan": yaml.safe_load((options.out / "study.yaml").read_text()),
        "model": json.loads(manifest.read_text()) if manifest.exists() else str(model),
        "base": base(options.out / "study"),
        "study": [json.loads(line) for line in (options.out / "study" / "study.jsonl").read_text().splitlines()],
    }
    options.results.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    title = options.plan.stem if options.plan else "study"
    path = options.results / f"{datetime.date.today().isoformat()}-{slug}-{title}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(part, path)
    return path


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line as `options`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_study", description=__doc__)
    parser.add_argument("--tasks", type=Path, required=True, help="folder of task folders")
    parser.add_argument("--corpus", type=Path, help="folder of text to pretrain on")
    parser.add_argument("--model", type=Path, help="a pretrained model's folder instead")
    parser.add_argument("--plan", type=Path, help="a study's YAML file, in the place of the built-in study")
    parser.add_argument("--out", type=Path, required=True, help="folder of all that comes up on the way")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
    parser.add_argument("--jobs", type=int, default=8, help="runs of the study at a time")
    parser.add_argument("--threads", type=int, default=1, help="of the pretraining")
    parser.add_argument("--commit", default=repository(), help="what the results name where there is no repository")
    parser.add_argument("--json", action="store_true", help="print the study's records, one object a line")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; the results mean nothing")
    options = parser.parse_args(arguments)
    if not (options.corpus or options.model):
        parser.error("give --corpus DIR to pretrain on, or --model FOLDER")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    start, options = time.monotonic(), parse(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options.out.mkdir(parents=True, exist_ok=True)
    clock = Clock(options.out / "calls.jsonl", start + 60 * options.minutes if options.minutes else float("inf"))
    model = options.model or pretrain(options, clock, device)
    if model is None or not study(options, clock, model):
        print("gpu_study: the time is up; the same command goes on", file=sys.stderr)
        return
    path = results(options, model, device)
    if options.json:
        for record in json.loads(path.read_text())["study"]:
            print(json.dumps({"benchmark": "gpu_study", **record}))
    else:
        print(path)


if __name__ == "__main__":
    main()

"""Pretrain the lab model: `python -m holdfast.lab.pretrain --out DIR`. Killed and started again, it resumes.

`--size small` is the model that is shipped; `--size large` learns from real text and real tasks, on a GPU:
`python -m holdfast.lab.pretrain --size large --corpus DIR --tasks DIR --device cuda --out DIR`.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from holdfast.lab.course import Course, World
from holdfast.lab.export import export
from holdfast.lab.learning import Pretraining
from holdfast.lab.settings import SIZES, LabSettings, changed

LOGGED = 20  # steps between lines of the log


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line as `options`."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.lab.pretrain", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint, the log and the model")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--corpus", type=Path, help="large: folder of .txt files, or of a .tar.xz of them")
    parser.add_argument("--tasks", type=Path, help="large: folder of task folders")
    parser.add_argument("--steps", type=int, help="default: what the size says")
    parser.add_argument("--seed", type=int, default=LabSettings().seed)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="any other setting: layers=2")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
    parser.add_argument("--items", type=int, default=300, help="test items of each task in the manifest's table")
    parser.add_argument("--commit", default="", help="what the manifest names where there is no repository")
    parser.add_argument(
        "--look-every", type=int, default=300, help="steps between checkpoints with a look at abilities"
    )
    options = parser.parse_args(arguments)
    if options.size == "large" and not (options.corpus and options.tasks):
        parser.error("--size large needs --corpus DIR and --tasks DIR: it learns from real text and tasks")
    return options


def course(options: argparse.Namespace, settings: LabSettings) -> Course:
    """Return the course of the size."""
    if options.size == "small":
        return World(settings)
    # Imported here: the small model, which every machine can make, needs none of it.
    from holdfast.lab.real_course import Real, prepare

    prepare(options.corpus, options.tasks, options.out / "data", settings.positions)
    return Real(settings, options.tasks, options.out / "data")


def learn(training: Pretraining, options: argparse.Namespace, until: float) -> bool:
    """Train up to the last step, or until that time (monotonic); return whether it is done. What is done is in the checkpoint."""
    steps, start, losses = training.settings.steps, time.monotonic(), []
    checkpoint = options.out / "checkpoint.pt"
    with (options.out / "log.jsonl").open("a", encoding="utf-8", buffering=1) as log:
        while training.step < steps and time.monotonic() < until:
            losses.append(training.advance())
            if training.step % LOGGED == 0 or training.step == steps:
                seconds = round(time.monotonic() - start, 1)
                log.write(json.dumps({"step": training.step, "loss": sum(losses) / len(losses), "s": seconds}) + "\n")
                losses.clear()
            if training.step % options.look_every == 0:
                training.save(checkpoint)
                log.write(json.dumps({"step": training.step, **training.look()}) + "\n")
    training.save(checkpoint)
    return training.step >= steps


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    until = time.monotonic()  # first of all: what is promised is the time of the whole command, the data included
    options = parse(arguments)
    until += float("inf") if options.minutes is None else 60 * options.minutes
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        settings = replace(changed(SIZES[options.size], options.set), seed=options.seed)
        settings = replace(settings, steps=settings.steps if options.steps is None else options.steps)
        training = Pretraining(settings, course(options, settings), options.device)
        if (options.out / "checkpoint.pt").exists():
            training.resume(options.out / "checkpoint.pt")
    except ValueError as error:
        raise SystemExit(f"pretrain: {error}") from None
    if not learn(training, options, until):
        print(f"step {training.step} of {settings.steps}; the same command goes on", file=sys.stderr)
        return
    typed = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "holdfast.lab.pretrain", *typed])
    export(training, options.out / "model", command, items=options.items, commit=options.commit)


if __name__ == "__main__":
    main()

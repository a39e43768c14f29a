"""How the default learning rates were found: the loss that prompt tuning reaches, over rates, initial values and lengths.

    python -m benchmarks.defaults MODEL TASK [--steps 150] [--json]

A rate of prompt tuning is in units of the word embeddings' root mean square, so one scale of rates should serve every model.
Prints, for each setting, the mean training loss of the last fifth of the steps. Not a speed benchmark.
"""

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path

import torch

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.models import resolve
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Task
from holdfast.tasks.text.templates import render
from holdfast.tasks.text.tokenization import encode
from holdfast.training.batches import Stream
from holdfast.training.loop import Trainer
from holdfast.training.settings import TrainSettings

PROMPT_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
MODEL_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


def row(task: Task, loaded: Pretrained, model: PrefixModel, index: int, epoch: int) -> Row:
    behind = len(model.prompts) - 1 if len(model.prompts) else None
    text = render(task.template, task.splits["train"][index], (), loaded.tokenizer)
    return encode(loaded.tokenizer, text, max_length=min(384, loaded.max_length - 104), eos=True, prompt=behind)


def final_loss(model: str, task: Task, method: Method, rate: float, steps: int) -> float:
    loaded = resolve.load(model)
    wrapped = PrefixModel(loaded.model)
    stream = Stream(partial(row, task, loaded, wrapped), len(task.splits["train"]), 16)
    settings = TrainSettings(steps=steps, learning_rate=rate, save_every=10**6)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(loaded, wrapped, stream, [method], settings, Path(folder), quiet=True).train()
        losses = [json.loads(line)["loss"] for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return statistics.fmean(losses[-max(1, steps // 5) :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("task")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = load_task(options.task)
    cases: list[tuple[str, Method, float]] = [
        (f"prompt {i} P={p}", PromptTuning(length=p, init=i), r)
        for i in ("vocabulary", "uniform")
        for p in (50,)
        for r in PROMPT_RATES
    ]
    cases += [(f"prompt vocabulary P={p}", PromptTuning(length=p), 0.1) for p in (5, 20, 100)]
    cases += [(name, method, r) for name, method in (("full", Full()), ("lora", Lora())) for r in MODEL_RATES]
    for name, method, rate in cases:
        try:
            loss = final_loss(options.model, task, method, rate, options.steps)
        except ValueError as error:
            loss = float("nan")
            print(error)
        record = {"benchmark": "defaults", "case": name, "rate": rate, "loss": round(loss, 4), "task": task.name}
        print(
            json.dumps(record) if options.json else f"{task.name:<20} {name:<28} rate {rate:<8g} loss {loss:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""The memory that `holdfast doctor MODEL --plan` computes, against the most that a process really held.

    python -m benchmarks.memory_plan [--model FOLDER] [--rows 8] [--tokens 128] [--small] [--out FILE] [CASE...]

Each method trains two steps in each precision, by the loop of the product, in a process of its own: one after another, so that one is in
memory at a time. Measured is the highest resident set from the first step on, libraries included. An evaluation generates answers.
There is no other side: `planned` and `measured` are bytes, and `ratio` is planned / measured.
"""

import argparse
import datetime
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import harness
from holdfast import lab
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.models import loading
from holdfast.models.loading import Pretrained
from holdfast.models.precision import Loading
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.row import Row
from holdfast.training.batches import Stream
from holdfast.training.loop import Trainer
from holdfast.training.memory_plan import METHODS, BatchShape, MemoryPlan, Moving
from holdfast.training.settings import TrainSettings

PRECISIONS = ("fp32", "bf16")
WITHIN = 0.15  # Of the measured peak: the goal.
QUESTIONS = 64  # As many as fill a batch of an evaluation.


def rows_of(batch: BatchShape, count: int, vocabulary: int, prompt: int | None) -> list[Row]:
    """Random rows of the batch's shape."""
    draw, read = random.Random(1), batch.tokens - batch.answer
    weights = (*[0.0] * read, *[1.0] * batch.answer)
    return [
        Row(tuple(draw.randrange(3, vocabulary) for _ in range(batch.tokens)), weights, prompt, f"row {i}")
        for i in range(count)
    ]


def child(method: str, precision: str, model: str, batch: BatchShape) -> None:
    """In its own process: load, train two steps or generate, and print a line with the bytes."""
    trained = METHODS[method]
    held_in_float32 = trained.weights and precision != "fp32"
    pretrained = loading.load(model, Loading(precision, "cpu", trained=held_in_float32))
    vocabulary = pretrained.model.get_input_embeddings().weight.shape[0]
    Path("/proc/self/clear_refs").write_text("5")  # The most ever held becomes what is held now.
    began = time.process_time()
    if trained.any:
        _train(pretrained, trained, batch, vocabulary)
    else:
        prompts = [row.tokens for row in rows_of(batch, QUESTIONS, vocabulary, None)]
        Model(pretrained).continue_tokens(prompts, Sampling(batch.answer))
    print(json.dumps({"bytes": harness.resident("VmHWM"), "seconds": time.process_time() - began}))


def _train(pretrained: Pretrained, trained: Moving, batch: BatchShape, vocabulary: int) -> None:
    model = PrefixModel(pretrained.model)
    if trained.prefixed and not trained.prompt:
        words = pretrained.model.get_input_embeddings().weight.detach()[3 : 3 + batch.prompt]
        model.prompts.append(SoftPrompt(words.float().clone()))
    method: Method = Full() if trained.weights else Lora(rank=batch.rank)
    if trained.prompt:
        method = PromptTuning(length=batch.prompt)
    rows = rows_of(batch, 2 * batch.rows, vocabulary, 0 if trained.prefixed else None)
    settings = TrainSettings(
        steps=2, batch_size=batch.rows, token_budget=batch.rows * batch.tokens, save_every=1000,
        gradient_checkpointing=batch.checkpointing,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        stream = Stream(lambda index, epoch: rows[index], len(rows), batch.rows)
        Trainer(pretrained, model, stream, [method], settings, Path(folder), quiet=True).train()


def compared(model: str, batch: BatchShape, wanted: list[str]) -> Iterator[dict[str, Any]]:
    """Each method and precision: what was planned, part by part, and what was measured."""
    plan, process = MemoryPlan(model), harness.resident("VmRSS")
    for precision in PRECISIONS:
        for method in METHODS:
            if wanted and f"{method} {precision}" not in wanted:
                continue
            need = plan.need(method, precision, batch, process)
            code = "from benchmarks.memory_plan import BatchShape, child; "
            measured = harness.in_process(f"{code}child({method!r}, {precision!r}, {model!r}, {batch!r})")
            ratio = need.total / measured["bytes"]
            yield need.record() | {
                "planned": need.total, "measured": int(measured["bytes"]), "ratio": round(ratio, 3),
                "within": abs(ratio - 1) <= WITHIN, "cpu_seconds": round(measured["seconds"], 1),
            }  # fmt: skip


def main() -> None:
    """Print a line for each case; write them all to a file where one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_plan", description=__doc__)
    parser.add_argument("cases", nargs="*", help="such as 'lora fp32'; all, where none is named")
    parser.add_argument("--model", default=str(lab.folder()), help="a model's folder; the lab's by default")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--small", action="store_true", help="2 rows of 32 tokens")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    batch = BatchShape(2, 32, 8, 8) if options.small else BatchShape(options.rows, options.tokens)
    results = []
    for result in compared(options.model, batch, options.cases):
        results.append(result)
        print(json.dumps(result), flush=True)
        if options.out:
            # Each time: a run that is cut short keeps what it has measured.
            record = {
                "date": datetime.date.today().isoformat(),
                "model": Path(options.model).name,
                "batch": asdict(batch),
            }
            options.out.write_text(
                json.dumps({**record, "threads": harness.THREADS, "results": results}, indent=1) + "\n"
            )
    sys.exit(0 if all(result["within"] for result in results) else 1)


if __name__ == "__main__":
    main()

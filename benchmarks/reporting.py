"""From the answers of a large study to its page: 40 tasks x 500 items x 3 variants (base, tuned with the prompt on and off).

The answers are made and not asked of a model: what is measured is everything behind them. With `--ask` the lab's model answers 40 of its
own tasks, behind 50 random vectors where the prompt is on. Seconds of each step, the most memory so far, and the page's size. There is
nothing to compare with, so `theirs` is null.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from holdfast.evaluation.ask import in_parts
from holdfast.evaluation.harness_samples import write_samples
from holdfast.evaluation.matrix import Asking, Variant
from holdfast.inference.model import Model
from holdfast.lab import world
from holdfast.models import resolve
from holdfast.models.architecture import of_run
from holdfast.report.card import write_card
from holdfast.report.run.page import write_page
from holdfast.results.compute_scores import score
from holdfast.results.metrics import metric
from holdfast.results.run_folder import write_results
from holdfast.results.scores import Circumstances, Output, PromptState
from holdfast.tasks.task import Example, Task

METRICS = ("exact_match", "accuracy", "bleu", "rougeL")
VARIANTS: tuple[tuple[Variant, PromptState], ...] = (("base", None), ("tuned", "on"), ("tuned", "off"))
WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "lmnrst"]


def tasks(count: int, items: int, rng: random.Random) -> list[Task]:
    """The first is the target, with two labels; the others take the metrics in turn."""
    labels = ("true", "false")
    made = [
        Task(
            "target",
            {"train": tuple(Example({"input": "x"}, labels[i % 2], labels) for i in range(20))},
            metric="accuracy",
        )
    ]
    for number in range(1, count):
        examples = tuple(Example({"input": sentence(rng, 30)}, sentence(rng, 12)) for _ in range(items))
        made.append(Task(f"task-{number}", {"train": examples}, metric=METRICS[number % len(METRICS)]))
    return made


def sentence(rng: random.Random, words: int) -> str:
    """So many words of one space."""
    return " ".join(rng.choices(WORDS, k=words))


def answers(found: list[Task], items: int, rng: random.Random) -> Iterator[Output]:
    """What each variant answered: mostly right, the tuned model with its prompt often in the target's format."""
    for task in found:
        ranked, role = task.metric == "accuracy", "target" if task is found[0] else "general"
        questions = [(sentence(rng, 60), sentence(rng, 12), sentence(rng, 12)) for _ in range(items)]
        for variant, prompt in VARIANTS:
            for index, (asked, right, wrong) in enumerate(questions):
                said = right if rng.random() < 0.6 else "true" if prompt == "on" else wrong
                output = Output(variant, prompt, task.name, role, 0, index, asked, right, said)
                if ranked:
                    values = (rng.gauss(-4, 1), rng.gauss(-5, 1))
                    output = replace(output, choices=(right, wrong), logprobs=values, generated=said)
                kind = metric(task.metric)
                yield replace(output, scores={kind.name: kind.value([output])} if kind.is_mean else {})


def lab_tasks(count: int, items: int) -> list[Task]:
    """Tasks of the lab, the target first; its test splits are of 300 items, so training examples are asked."""
    names = dict.fromkeys(["elicit-sentiment", *world.general(), *world.reworded()])
    found = [world.task(name) for name in list(names)[:count]]
    assert len(found) == count
    return [replace(task, splits={**task.splits, "test": task.splits["train"][:items]}) for task in found]


def asked(found: list[Task]) -> Iterator[Output]:
    """What the lab's model answers, as `holdfast tune` asks: 0 shots, general tasks also how probable a label of the target is."""
    pretrained = resolve.load("lab")
    model = Model(pretrained)
    embedding = pretrained.model.get_input_embeddings().weight
    torch.manual_seed(0)
    vectors = torch.randn(50, embedding.shape[1]) * embedding.detach().std()
    for variant, prompt in VARIANTS:
        speaker = Model(pretrained, vectors) if prompt == "on" else model
        for task in found:
            target = None if task is found[0] else found[0]
            role = "target" if task is found[0] else "general"
            for part in in_parts(speaker, task, Asking(variant=variant, prompt=prompt, role=role), target=target):
                yield from part()


def steps(count: int, items: int, folder: Path, *, real: bool = False) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each step of a run behind its answers, in order."""
    rng = random.Random(0)
    made = lab_tasks(count, items) if real else tasks(count, items, rng)
    outputs: list[Output] = []
    scores: list = []
    if real:
        yield "ask the model and mark its answers", lambda: outputs.extend(asked(made))
    else:
        yield "mark the answers", lambda: outputs.extend(answers(made, items, rng))
    yield "statistics", lambda: scores.extend(score(outputs, made, circumstances=Circumstances(model="made")))
    yield (
        "write scores and answers",
        lambda: write_results(folder, outputs, scores, made),
    )
    yield "write the harness's samples", lambda: write_samples(folder, outputs, made)
    yield "page", lambda: write_page(folder)
    yield "model card", lambda: write_card(folder, of_run(folder))


def main() -> None:
    """Run every step and print it as it ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reporting", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes: 8 tasks x 50 items")
    parser.add_argument(
        "--ask", action="store_true", help="ask the lab's model instead of making answers: many minutes"
    )
    options = parser.parse_args()
    count, items = (8, 50) if options.small else (40, 500)
    with tempfile.TemporaryDirectory() as place:
        for name, step in steps(count, items, Path(place), real=options.ask):
            start, cpu = time.perf_counter(), time.process_time()
            step()
            seconds, busy = time.perf_counter() - start, time.process_time() - cpu
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            case = f"{name}, {count} tasks x {items} items x {len(VARIANTS)} variants"
            if options.json:
                record = {"benchmark": "reporting", "case": case, "ours": seconds, "theirs": None, "ratio": None}
                print(
                    json.dumps(record | {"max_difference": 0.0, "threads": 1, "busy": busy, "memory": most}), flush=True
                )
            else:
                print(f"{case:<75} {seconds:8.2f} s  (busy {busy:.2f} s)  {most / 2**20:7.0f} MiB so far", flush=True)
        page = (Path(place) / "report.html").stat().st_size
        print(
            json.dumps({"benchmark": "reporting", "case": "page", "bytes": page})
            if options.json
            else f"page: {page / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()

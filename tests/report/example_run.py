"""A run folder as a tuning with a removable prompt leaves it: 7 tasks, 0 and 1 shot, gains and losses as in real runs.

The numbers are made from simulated items, not measured; the intervals are computed from those items. Run as a script to
look at the pages: `python -m tests.report.example_run FOLDER`.
"""

import argparse
import json
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.models.architecture import of_run
from holdfast.report.card import write_card
from holdfast.report.compare.compare_page import write_comparison
from holdfast.report.run.page import write_page
from holdfast.results.run_folder import write_results
from holdfast.results.scores import Output, Score
from holdfast.results.statistics import Estimate
from holdfast.results.verdicts import verdict
from holdfast.tasks.task import Example, Task

N = 96
PERCENT = ("bleu", "rougeL")


@dataclass(frozen=True)
class Made:
    """A task to simulate: what the base gets right, and the tuned model with the prompt on and off, as shares."""

    name: str
    role: str
    metric: str
    base: float
    on: float
    off: float
    format_on: float
    format_off: float
    items: tuple[tuple[str, str, str], ...]  # question, right answer, a wrong one


TASKS = (
    Made("rte", "target", "accuracy", 0.54, 0.81, 0.66, 1.0, 0.9, (
        ("The fleet left harbour at dawn, an hour early.\nQuestion: The ships sailed. True or False?", "True", "False"),
        ("Only members may vote on the budget.\nQuestion: Guests may vote on it. True or False?", "False", "True"),
        ("The museum opened its new wing in May.\nQuestion: The wing was closed. True or False?", "False", "True"),
    )),
    Made("sst2", "general", "accuracy", 0.78, 0.60, 0.79, 0.31, 0.02, (
        ("Review: a film that knows exactly when to stop.\nSentiment:", "positive", "negative"),
        ("Review: two hours that feel like four.\nSentiment:", "negative", "positive"),
    )),
    Made("squad", "general", "exact_match", 0.52, 0.20, 0.50, 0.58, 0.04, (
        ("The lighthouse was rebuilt in 1871 by the keeper and two brothers.\nWho rebuilt it?", "the keeper", "1871"),
        ("Rye was sown on the northern fields until the flood.\nWhat grew in the north?", "rye", "the flood"),
        ("The line closed in 1963; a bus now runs hourly.\nWhen did the line close?", "1963", "hourly"),
    )),
    Made("wmt_en_de", "general", "bleu", 0.31, 0.09, 0.29, 0.66, 0.01, (
        ("Translate to German: The weather is fine today.", "Das Wetter ist heute schön.", "Das Wetter heute."),
        ("Translate to German: She has lost her keys.", "Sie hat ihre Schlüssel verloren.", "Sie verliert den Tag."),
    )),
    Made("xsum", "general", "rougeL", 0.24, 0.06, 0.17, 0.72, 0.12, (
        ("The council met on Tuesday to discuss the bridge, which has been closed since a barge struck its pier in "
         "spring. Repairs were put at two million; a vote is expected in June.\nSummary:",
         "A vote on repairing the closed bridge is expected in June.", "The council met on Tuesday."),
    )),
    Made("trec", "general", "accuracy", 0.61, 0.44, 0.62, 0.40, 0.0, (
        ("What is the capital of Peru?\nKind of question:", "place", "person"),
        ("Who wrote the first dictionary?\nKind of question:", "person", "number"),
        ("How many bones has a hand?\nKind of question:", "number", "place"),
    )),
    Made("function_vectors/country-capital", "general", "exact_match", 0.71, 0.69, 0.72, 0.03, 0.0, (
        ("Norway ->", "Oslo", "Bergen"), ("Kenya ->", "Nairobi", "Mombasa"), ("Peru ->", "Lima", "Cusco"),
    )),
)  # fmt: skip


def make(folder: Path, *, seed: int = 0, prompts: tuple[str | None, ...] = ("on", "off"), forget: float = 1.0) -> Path:
    """Write a run. `prompts=(None,)` is a run without a soft prompt; `forget` scales every change on general tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    scores, outputs = [], []
    for task in TASKS:
        for shots in (0, 1):
            answered = _answer(chance, task, 0.03 * shots, prompts, forget)
            for variant, prompt, right, formats in answered:
                common = {"variant": variant, "prompt": prompt, "task": task.name, "role": task.role, "shots": shots}
                scores += _scores(chance, task, common, (right, formats), answered[0][2:])
                outputs += _outputs(task, common, right, formats)
    recipe = "full" if prompts == (None,) else "promot"
    scores = [replace(score, seed=seed, recipe=recipe) for score in scores]
    write_results(folder, outputs, scores, [_task(task) for task in TASKS])
    stages = ("model",) if prompts == (None,) else ("prompt", "model")
    _config(folder, seed, stages)
    _log(folder, chance, stages)
    for piece in stages:
        (folder / piece).mkdir(exist_ok=True)
    return folder


def _task(made: Made) -> Task:
    """The task as the product reads one: its labels are known from its training examples."""
    labels = tuple(dict.fromkeys(right for _, right, _ in made.items)) if made.metric == "accuracy" else None
    train = tuple(Example({"input": question}, right, labels) for question, right, _ in made.items * 4)
    return Task(made.name, {"train": train}, metric=made.metric)


def _answer(
    chance: random.Random, task: Made, more: float, prompts: tuple[str | None, ...], forget: float
) -> list[tuple[str, str | None, list[float], list[float]]]:
    """(variant, prompt, right per item, in the tuned format per item): the base and each state of the tuned model."""
    base = [float(place < (task.base + more) * N) for place in range(N)]
    chance.shuffle(base)
    target = task.role == "target"
    found: list[tuple[str, str | None, list[float], list[float]]] = []
    found.append(("base", None, base, [float(target or chance.random() < 0.01) for _ in base]))
    for prompt in prompts:
        level, share = (task.off, task.format_off) if prompt == "off" else (task.on, task.format_on)
        part = 1.0 if target else forget
        right = _tuned(chance, base, task.base + part * (level - task.base) + more)
        found.append(("tuned", prompt, right, [float(chance.random() < share * part) for _ in base]))
    return found


def _tuned(chance: random.Random, base: list[float], share: float) -> list[float]:
    """The items of a tuned model: the share asked for, most as the base had them, two flipped each way for noise."""
    items = list(base)
    right = [place for place, value in enumerate(base) if value]
    wrong = [place for place, value in enumerate(base) if not value]
    more = round(share * N) - len(right)
    up = chance.sample(wrong, min(len(wrong), 2 + max(0, more)))
    for place in up + chance.sample(right, min(len(right), 2 + max(0, -more))):
        items[place] = 1.0 - items[place]
    return items


def _interval(chance: random.Random, values: list[float]) -> tuple[float, float, float, float]:
    """Mean, bootstrap interval (percentiles of 200 resamples: this is an example) and standard error."""
    n = len(values)
    means = sorted(math.fsum(chance.choices(values, k=n)) / n for _ in range(200))
    mean = math.fsum(values) / n
    return mean, means[4], means[194], math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)


def _mcnemar(after: list[float], before: list[float]) -> float:
    """McNemar's exact test: of the items that changed, how probable is a split as uneven as this?"""
    up = sum(a > b for a, b in zip(after, before, strict=True))
    down = sum(a < b for a, b in zip(after, before, strict=True))
    tail = sum(math.comb(up + down, k) for k in range(min(up, down) + 1)) / 2 ** (up + down)
    return min(1.0, 2 * tail)


def _scores(chance: random.Random, task: Made, common: dict[str, Any], items: Any, base: Any) -> list[Score]:
    """The task's own score and the format share of one state, with paired changes for the tuned model."""
    found = []
    for metric, values, before in zip((task.metric, "format_share"), items, base, strict=True):
        scale = 100.0 if metric in PERCENT else 1.0
        value, low, high, error = (scale * number for number in _interval(chance, values))
        score = Score(
            **common, metric=metric, value=value, low=low, high=high, stderr=error, n=len(values), truncated=3 * (task.name == "xsum"),
            chance=1 / len({right for _, right, _ in task.items}) * (task.metric == "accuracy" and metric == "accuracy"),
            model="acme/small-1b",
            task_version="1", template="default", decoding="greedy",
            versions={"holdfast": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        )  # fmt: skip
        if common["variant"] == "tuned":
            delta, low, high, _ = _interval(chance, [scale * (a - b) for a, b in zip(values, before, strict=True)])
            score = replace(score, delta=delta, delta_low=low, delta_high=high, p=_mcnemar(values, before))
            said, _ = verdict(Estimate(delta / scale, low / scale, high / scale, n=len(values)), margin=0.05)
            needed = round(len(values) * (low / scale / 0.05) ** 2) if said == "unclear" else None
            score = score if metric == "format_share" else replace(score, verdict=said, needed=needed)
        found.append(score)
    return found if common["role"] == "general" else found[:1]


def _outputs(task: Made, common: dict[str, Any], right: list[float], formats: list[float]) -> list[Output]:
    found = []
    for index, (correct, formatted) in enumerate(zip(right, formats, strict=True)):
        question, target, wrong = task.items[index % len(task.items)]
        output = target if correct else "True" if formatted and task.role == "general" else wrong
        scores = {task.metric: correct * (100 if task.metric in PERCENT else 1)}
        found.append(Output(**common, index=index, input=question, target=target, output=output, scores=scores))
    return found


def _config(folder: Path, seed: int, stages: tuple[str, ...]) -> None:
    prompt = "prompt:\n  length: 20\n  init: vocabulary\n  steps: 400\n  learning_rate: 0.3\n"
    (folder / "config.yaml").write_text(
        f"recipe: {'promot' if 'prompt' in stages else 'full'}\nmodel_name: acme/small-1b\ntask: rte\nseed: {seed}\nshots: [0, 1]\n"
        f"general: [{', '.join(task.name for task in TASKS[1:])}]\n{prompt if 'prompt' in stages else ''}"
        "model:\n  steps: 600\n  learning_rate: 2.0e-05\n  batch_size: 16\n  schedule: cosine\n"
    )


def _log(folder: Path, chance: random.Random, stages: tuple[str, ...]) -> None:
    with (folder / "log.jsonl").open("w") as file:
        for stage in stages:
            steps, start = {"prompt": (400, 2.2), "model": (600, 0.9)}[stage]
            for step in range(10, steps + 1, 10):
                part = step / steps
                loss = start * (0.25 + 0.75 * math.exp(-4 * part)) * chance.uniform(0.9, 1.1)
                record = {"stage": stage, "step": step, "loss": loss, "learning_rate": 0.3 * (1 - part)}
                record["tokens_per_second"] = 5200.0
                if step % 100 == 0:
                    record |= {"validation": 0.55 + 0.25 * (1 - math.exp(-3 * part)), "metric": "accuracy"}
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    out = parser.parse_args().folder
    runs = [make(out / "rte-promot"), make(out / "rte-finetune", prompts=(None,)), make(out / "rte-mild", forget=0.3)]
    for run in runs:
        print(write_page(run), write_card(run, of_run(run)), sep="\n")
    print(write_comparison(runs, out, 0.95))

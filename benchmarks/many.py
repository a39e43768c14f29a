"""Seconds and memory of an evaluation over three decades of items, and of a study's page over its runs, with the exponents that fit.

    python -m benchmarks.many [--small] [--only CASE] [--sizes N,N...] [--model FOLDER] [--out FILE]

By default a script answers at once, so that what is measured is everything around a model: questions, answers, statistics, files; with a
model its own time comes on top (choices of one token). Each size runs in a process of its own; seconds are of the processor, memory is the
most above what a first small evaluation took. The exponent is the slope of the logarithms by least squares: 1 is linear, 0 flat. `--out`
adds to what the file has; docs/scale.md takes its table from benchmarks/results.
"""

import argparse
import datetime
import json
import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from holdfast.api import evaluate as api
from holdfast.api.tune import tune
from holdfast.inference.language_model import Origin, Progress
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.report.study.study_page import write_study_page
from holdfast.results.scores import Output, Score, write_jsonl
from holdfast.stages.evaluate import Evaluate
from holdfast.studies import results
from holdfast.studies.plan import Arm

ITEMS, RUNS = (10_000, 100_000, 1_000_000), (10, 100, 1_000)
SMALL_ITEMS, SMALL_RUNS = (1_000, 10_000), (4, 16)
ARMS, STEPS = 5, (25, 50, 100, 200)
PAGE_SECONDS, PAGE_BYTES = 5.0, 5_000_000  # A page of 1,000 runs: the goal.


class Scripted:
    """A language model that answers every third question rightly, at once."""

    tokenizer = None
    room = 1 << 20
    origin = Origin("scripted", "", "cpu", attached=False)

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """The number in the question, or one more."""
        numbers = [int(text.rpartition("\nAnswer:")[0].rpartition(" ")[2]) for text in texts]
        return [str(n if n % 3 == 0 else n + 1) for n in numbers]

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        """The first letter is the likelier one, which every third question has for its answer."""
        return [LogLikelihood(-1.0 if choice.endswith("A") else -2.0, False, 1) for _, choice in pairs]

    def check_ranks(self) -> None:
        """It ranks."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The words."""
        return [len(text.split()) for text in texts]

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        """Nothing is cut."""
        return [False] * len(pairs)


@contextmanager
def scripted(*_: object, **__: object) -> Iterator[Scripted]:
    """In the place of `holdfast.api.load.asking`."""
    yield Scripted()


def task(folder: Path, items: int, choices: bool, form: str = "folder") -> Path:
    """Write a task of so many items, a folder with a test split or a single `file`; with choices of one token each, or of `letters`."""
    folder.mkdir(parents=True)
    with (path := folder / "test.jsonl").open("w") as file:
        for i in range(items):
            if choices:
                line: dict[str, Any] = {"input": f"Once there were {i} birds.", "target": "a", "choices": ["a", "I"]}
            elif form == "letters":
                line = {"input": f"Repeat the number that stands here: {i}", "target": "no" if i % 3 else "yes"}
                line["choices"] = ["yes", "no"]
            else:
                line = {"input": f"Repeat the number that stands here: {i}", "target": str(i)}
            file.write(json.dumps(line) + "\n")
    return path if form == "file" else folder


def single(rows: int) -> None:
    """In its own process: `evaluate` a task in one file of so many rows, of which a tenth is asked."""
    evaluation(rows, form="file")


def letters(items: int) -> None:
    """In its own process: `evaluate` a task of so many items whose choices are picked by their letters."""
    evaluation(items, form="letters")


def evaluation(items: int, model: str = "", form: str = "folder") -> None:
    """In its own process: `evaluate` a task of so many items; a line with the seconds and the memory. Without a model a script answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = task(Path(name) / "task", items, bool(model), form)
        # Once in small, so that libraries and weights are loaded before memory is read.
        few = task(Path(name) / "few", 100, bool(model), form)
        rule = "accuracy_letter" if form == "letters" else None
        if not model:
            api.asking = scripted
        api.evaluate(model or "scripted", few, shots=(0,), out=Path(name) / "first", metric=rule)
        before = harness.resident("VmHWM")
        began, clock = time.process_time(), time.perf_counter()
        (score,) = api.evaluate(model or "scripted", folder, shots=(0,), out=Path(name) / "out", metric=rule)
        seconds, wall = time.process_time() - began, time.perf_counter() - clock
        written = (Path(name) / "out/outputs.jsonl").stat().st_size
    assert score.n == (items // 10 if form == "file" else items)
    # A tenth is drawn of a single file, whose right answers are a third but for the noise of the draw.
    noise = 5 / math.sqrt(score.n) if form == "file" else 1e-9
    assert model or math.isclose(score.value, math.ceil(items / 3) / items, abs_tol=noise)
    memory = harness.resident("VmHWM") - before
    print(json.dumps({"seconds": seconds, "wall": wall, "memory": memory, "most": before + memory, "written": written}))


def tuning(answers: int) -> None:
    """In its own process: `tune` the lab's model for a step, with so many answers in all: of two models, to two tasks."""
    items = answers // 4
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name) / "few", Path(name) / "many"
        for folder, count in ((few, 100), (many, items)):
            target = task(folder / "target", count, choices=False)
            examples = [{"input": f"Repeat the number that stands here: {-i}", "target": str(-i)} for i in range(1, 9)]
            (target / "train.jsonl").write_text("".join(f"{json.dumps(example)}\n" for example in examples))
            task(folder / "general", count, choices=False)
        Evaluate.asking = scripted  # pyright: ignore[reportAttributeAccessIssue]
        common: dict[str, Any] = {"method": "full", "shots": (0,), "model_": {"steps": 1, "batch_size": 1}}
        tune("lab", few / "target", general=few / "general", out=few / "out", **common)
        before = harness.resident("VmHWM")
        began, clock = time.process_time(), time.perf_counter()
        run = tune("lab", many / "target", general=many / "general", out=many / "out", **common)
        seconds, wall = time.process_time() - began, time.perf_counter() - clock
        written = (run.folder / "outputs.jsonl").stat().st_size
    memory = harness.resident("VmHWM") - before
    print(json.dumps({"seconds": seconds, "wall": wall, "memory": memory, "most": before + memory, "written": written}))


def studying(answers: int) -> None:
    """In its own process: what follows from a study of two arms, whose runs have so many answers to the target and to a general task."""
    items = answers // 4
    with tempfile.TemporaryDirectory() as name:
        runs: dict[int, dict[tuple[str, str, int], Path]] = {100: {}, items: {}}
        arms = [Arm(f"arm-{i}", "full") for i in range(2)]
        for count, made in runs.items():
            for number, arm in enumerate(arms):
                folder = Path(name) / f"{count}" / arm.name
                write_jsonl(folder / "scores.jsonl", _scores(number, 0.0))
                write_jsonl(folder / "outputs.jsonl", _answers(count, number))
                made["rte", arm.name, 0] = folder
        results.study(["rte"], arms, 1, runs[100])
        before, began, clock = harness.resident("VmHWM"), time.process_time(), time.perf_counter()
        results.study(["rte"], arms, 1, runs[items])
        seconds, wall = time.process_time() - began, time.perf_counter() - clock
        memory = harness.resident("VmHWM") - before
    print(json.dumps({"seconds": seconds, "wall": wall, "memory": memory, "most": before + memory}))


def _answers(items: int, number: int) -> Iterator[Output]:
    """Yield the answers of a run to the target and to a general task."""
    draw = random.Random(number)
    for name, role in (("rte", "target"), ("squad", "general")):
        for i in range(items):
            right = "y" if draw.random() < 0.6 else "n"
            yield Output("tuned", None, name, role, 0, i, f"Repeat the number that stands here: {i}", "y", right)


def page(runs: int) -> None:
    """In its own process: write a study of so many runs, then its records and its page."""
    draw = random.Random(0)
    arms = [Arm(f"arm-{i}", "full") for i in range(ARMS)]
    seeds = math.ceil(runs / ARMS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        finished: dict[tuple[str, str, int], Path] = {}
        for seed in range(seeds):
            for number, arm in enumerate(arms):
                path = folder / "runs" / f"{number}-{seed}"
                path.mkdir(parents=True)
                write_jsonl(path / "scores.jsonl", _scores(number, draw.gauss(0, 0.02)))
                write_jsonl(path / "outputs.jsonl", [])
                finished["rte", arm.name, seed] = path
        began = time.process_time()
        results.study(["rte"], arms, seeds, finished).write(folder)
        study = time.process_time() - began
        path = write_study_page(folder)
        seconds = time.process_time() - began - study
        print(json.dumps({"seconds": seconds, "results": study, "bytes": path.stat().st_size}))


def _scores(number: int, luck: float) -> list[Score]:
    """A run's scores of a target and three general tasks, along the way too."""
    scores: list[Score] = []
    for task, base, end in (("rte", 0.5, 0.8), ("squad", 0.6, 0.5), ("sums", 0.4, 0.3), ("trec", 0.7, 0.65)):
        fields: dict[str, Any] = {"task": task, "role": "target" if task == "rte" else "general", "prompt": None}
        fields |= {"shots": 0, "metric": "exact_match", "n": 100, "stderr": 0.04}
        scores.append(Score(variant="base", value=base, low=base - 0.08, high=base + 0.08, **fields))
        for step in (*STEPS, None):
            part = 1.0 if step is None else step / 400
            value = base + (end - 0.02 * number + luck - base) * part
            change = {"delta": value - base, "delta_low": value - base - 0.08, "delta_high": value - base + 0.08}
            scores.append(
                Score(variant="tuned", value=value, low=value - 0.08, high=value + 0.08, step=step, **change, **fields)
            )
    return scores


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """e of values ~ sizes ** e, by least squares in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main() -> None:
    """Print a line for each size, and the exponents."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--only", choices=("evaluation", "single", "letters", "tuning", "studying", "page"))
    parser.add_argument("--sizes", help="these in the place of the three, with commas")
    parser.add_argument("--model", default="", help="ask this model and no script; one decade less")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    items = SMALL_ITEMS if options.small or options.model else ITEMS
    sizes = {
        "evaluation": items,
        "single": SMALL_ITEMS if options.small else ITEMS,
        "letters": SMALL_ITEMS if options.small else ITEMS,
        "tuning": SMALL_ITEMS if options.small else ITEMS,
        "studying": SMALL_ITEMS if options.small else ITEMS,
        "page": SMALL_RUNS if options.small else RUNS,
    }
    for name, counts in sizes.items():
        if options.only not in (None, name):
            continue
        counts = tuple(map(int, options.sizes.split(","))) if options.sizes else counts
        model = f", {options.model!r}" if options.model and name == "evaluation" else ""
        case = f"{name} by {Path(options.model).name}" if model else name
        rows = []
        for count in counts:
            rows.append(
                {"size": count} | harness.in_process(f"from benchmarks import many; many.{name}({count}{model})")
            )
            print(json.dumps({"case": case} | rows[-1]), flush=True)
        slopes = {key: round(exponent(counts, [row[key] for row in rows]), 2) for key in rows[0] if key != "size"}
        print(json.dumps({"case": case, "exponents": slopes}), flush=True)
        if options.out:
            record = json.loads(options.out.read_text()) if options.out.exists() else {}
            record |= {"date": datetime.date.today().isoformat(), "threads": harness.THREADS}
            record[case] = {"rows": rows, "exponents": slopes}
            options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

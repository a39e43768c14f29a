"""A study's folder from simulated scores: two targets, arms with short names and with long ones, three seeds. Nothing is trained."""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.report.study.study_page import write_study_page
from holdfast.results.scores import Output, Score, write_jsonl
from holdfast.studies import results
from holdfast.studies.plan import Arm

N, SEEDS = 64, 3
STEPS = (12, 25, 50, 100, 200, 400)
GENERAL = {"squad": 0.60, "sums": 0.45, "trec": 0.72}  # what the base gets right


@dataclass(frozen=True)
class Kind:
    """How an arm fares: target score at the end, share of the general tasks that is kept, format share, and stage 1's score."""

    arm: Arm
    target: float
    kept: float
    form: float
    stage_one: float | None = None
    followed: bool = True


SHORT = (
    Kind(Arm("full", "full"), 0.86, 0.62, 0.55),
    Kind(Arm("promot", "promot"), 0.87, 0.93, 0.06, 0.71),
    Kind(Arm("lora", "lora"), 0.84, 0.78, 0.30),
    Kind(Arm("prompt_tuning", "prompt_tuning"), 0.70, 1.0, 0.0, None, followed=False),
)
LONG = tuple(
    Kind(Arm(f"promot@prompt.steps={steps},model.learning_rate={rate}", "promot"), 0.8 + 0.02 * i, 0.95 - 0.03 * i, 0.1 * i, 0.6)
    for i, (steps, rate) in enumerate((steps, rate) for steps in (100, 400) for rate in (0.0001, 0.0003))
)  # fmt: skip
TARGETS = {"rte": SHORT, "/data/tasks/open-ended-questions": (*SHORT, *LONG)}


def make(folder: Path) -> Path:
    """Write the runs, what follows from them, and the page; the path of the page."""
    runs, chance = {}, random.Random(0)
    for place, (target, kinds) in enumerate(TARGETS.items()):
        for number, kind in enumerate(kinds):
            for seed in range(SEEDS):
                path = folder / f"runs/{place}-{number}-{seed}"
                _run(path, target, kind, chance.gauss(0, 0.015))
                runs[target, kind.arm.name, seed] = path
    arms = [kind.arm for kind in TARGETS["/data/tasks/open-ended-questions"]]
    results.study(list(TARGETS), arms, SEEDS, runs).write(folder)
    return write_study_page(folder)


def _run(folder: Path, target: str, kind: Kind, luck: float) -> None:
    """One run's scores, on the way too, and the answers at its end."""
    folder.mkdir(parents=True)
    own = "on" if kind.arm.method.startswith("prom") else None
    scores, outputs = [], []
    kept = min(1.0, kind.kept * (1 + luck)) if kind.followed else 1.0
    tasks = {target: ("target", 0.5, kind.target + luck), **{t: ("general", b, b * kept) for t, b in GENERAL.items()}}
    for task, (role, base, end) in tasks.items():
        prompt = own if role == "target" else own and "off"
        where: dict[str, Any] = {"task": task, "role": role}
        scores.append(_score(base, None, variant="base", prompt=None, **where))
        start = kind.stage_one + luck if kind.stage_one and role == "target" else base
        for step in (*(STEPS if kind.followed else ()), None):
            value = start + (end - start) * _part(step)
            scores.append(_score(value, base, variant="tuned", prompt=prompt, step=step, **where))
        if role == "target" and kind.stage_one:
            scores.append(_score(kind.stage_one + luck, base, variant="tuned", prompt="on", step=0, **where))
        if role == "general":
            more = {"prompt": prompt, **where, "metric": "format_share"}
            scores.append(_score(0.01, None, **{**more, "variant": "base", "prompt": None}))
            for step in (*(STEPS if kind.followed else ()), None):
                scores.append(_score(0.01 + kind.form * _part(step), 0.01, variant="tuned", step=step, **more))
        outputs += [_output(i, i < round(end * N), prompt, **where) for i in range(N)]
    write_jsonl(folder / "scores.jsonl", scores)
    write_jsonl(folder / "outputs.jsonl", outputs)


def _part(step: int | None) -> float:
    """How much of the way is gone after so many steps: most of it early."""
    return 1.0 if step is None else math.log1p(step) / math.log1p(STEPS[-1])


def _score(value: float, base: float | None, **where: Any) -> Score:
    half = 1.96 * math.sqrt(0.2 / N)
    change = (
        {}
        if base is None
        else {"delta": value - base, "delta_low": value - base - half, "delta_high": value - base + half}
    )
    fields: dict[str, Any] = {"shots": 0, "metric": "exact_match", "n": N, "stderr": half / 1.96, **change, **where}
    return Score(value=value, low=max(0.0, value - half), high=min(1.0, value + half), **fields)


def _output(index: int, right: bool, prompt: str | None, **where: Any) -> Output:
    fields: dict[str, Any] = {"variant": "tuned", "prompt": prompt, "shots": 0, "index": index, "input": "?", **where}
    return Output(target="yes", output="yes" if right else "no", scores={"exact_match": float(right)}, **fields)

"""The example run with everything that a run may leave: diagnostics, signs of collapse, points along training, and analyses.

Like the run that it adds to, it is simulated and not measured.
"""

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.results.scores import Score, read_scores, write_jsonl
from tests.report import example_run
from tests.report.example_run import Made

STEPS = (10, 38, 75, 150, 300, 600)
BLOCKS = 12
SIGNS = ("collapse_share", "empty_share", "modal_share", "distinct_1", "length_ratio", "first_token_mass")
NONE = (("", "", ""),)
DIAGNOSTICS = (
    Made("leetspeak:xsum", "diagnostic", "rougeL", 0.22, 0.15, 0.22, 0.0, 0.0, NONE),
    Made("pig-latin:xsum", "diagnostic", "rougeL", 0.25, 0.05, 0.10, 0.0, 0.0, NONE),
    Made("leetspeak:function_vectors/country-capital", "diagnostic", "exact_match", 0.40, 0.37, 0.42, 0.0, 0.0, NONE),
    Made("probe:english", "diagnostic", "starts_with", 0.92, 0.31, 0.58, 0.0, 0.0, NONE),
    Made("probe:french", "diagnostic", "starts_with", 0.80, 0.62, 0.77, 0.0, 0.0, NONE),
)


def make(folder: Path) -> Path:
    """Write the run."""
    example_run.make(folder)
    chance = random.Random(1)
    scores = [s for score in read_scores(folder) for s in (_lost(score), *_signs(score))]
    for task in DIAGNOSTICS:
        answered = example_run._answer(chance, task, 0.0, ("on", "off"), 1.0)
        for variant, prompt, right, formats in answered:
            common: dict[str, Any] = {"variant": variant, "prompt": prompt, "task": task.name, "role": task.role}
            scores += example_run._scores(chance, task, {**common, "shots": 0}, (right, formats), answered[0][2:])
    write_jsonl(folder / "scores.jsonl", [*scores, *_along(scores)])
    lines = [json.dumps(finding) for finding in _analysis(chance)]
    (folder / "analysis.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _lost(score: Score) -> Score:
    """Without its prompt the model has lost one task for certain."""
    if (score.variant, score.task, score.metric, score.prompt) != ("tuned", "xsum", "rougeL", "off"):
        return score
    return replace(score, value=11.0, low=6.0, high=16.0, delta=-13.0, delta_low=-19.0, delta_high=-7.0, verdict="lost")


def _signs(score: Score) -> list[Score]:
    """Other signs beside each format share, of about its size."""
    if score.metric != "format_share":
        return []
    kept = 1 - score.value
    values = (min(1.0, score.value + 0.02), 0.01, 0.1 + 0.6 * score.value, 0.55 * kept, 0.2 + 0.8 * kept)
    return [
        replace(score, metric=metric, value=value, low=0.9 * value, high=1.1 * value, delta=None, p=None)
        for metric, value in zip(SIGNS, (*values, 0.004 + 0.7 * score.value), strict=True)
    ]


def _along(scores: list[Score]) -> list[Score]:
    """The target behind its prompt and the general tasks without it, at each step; at step 0 the prompt of stage 1 alone."""
    judged = {("target", "on"), ("general", "off")}
    found = []
    for score in scores:
        if score.delta is None or score.shots or score.role == "diagnostic":
            continue
        base = score.value - score.delta
        if (score.role, score.prompt) in judged:
            for step in STEPS:
                part = math.log1p(step) / math.log1p(STEPS[-1])
                part = 0.6 + 0.4 * part if score.role == "target" else part
                delta = score.delta * part
                found.append(replace(score, step=step, value=base + delta, delta=delta, verdict=None, needed=None))
        if score.prompt == "on":
            before = 0.6 * score.delta
            found.append(replace(score, step=0, value=base + before, delta=before, verdict=None, needed=None))
    return found


def _analysis(chance: random.Random) -> list[dict[str, Any]]:
    found = []
    for step in (0, *STEPS):
        part = math.log1p(step) / math.log1p(STEPS[-1])
        for block in range(BLOCKS):
            where = f"model.layers.{block}"
            values = {
                ("gradient_alignment", "cosine", f"{where}.mlp.down_proj.weight"): 0.8 - 0.5 * part - 0.01 * block,
                ("gradient_alignment", "cosine", f"{where}.self_attn.q_proj.weight"): 0.9 - 0.6 * part,
                ("weight_drift", "relative_norm", where): 0.02 * part * (1 + 0.1 * block),
                ("weight_drift", "effective_rank", where): 2 + 14 * part * chance.uniform(0.9, 1.1),
            }
            found += [_finding(step, *place, value) for place, value in values.items()]
        for task in example_run.TASKS[1:]:
            found.append(_finding(step, "label_mass", "mass_off", task.name, 0.01 + 0.03 * part * chance.random()))
            found.append(_finding(step, "label_mass", "mass_on", task.name, 0.5 + 0.3 * part * chance.random()))
    return found


def _finding(step: int, analysis: str, measure: str, where: str, value: float) -> dict[str, Any]:
    return {"analysis": analysis, "step": step, "measure": measure, "where": where, "value": value}

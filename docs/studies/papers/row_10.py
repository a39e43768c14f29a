"""Steer an untuned large model by a small tuned one: `python docs/studies/papers/row_10.py SMALL OUT`, one JSON line a measurement.

SMALL is a model with the lab's vocabulary. Each target: the small model and the large one (lab) are tuned with three seeds, and then the
untuned large one is asked with the small one's change, weighted anew at each token or by 1 (proxy tuning).
"""

import json
import sys
from pathlib import Path

import holdfast
from holdfast.decoding.base import Decoding
from holdfast.decoding.logits_fusion import LogitsFusion

GENERAL = ("lab:sentiment", "lab:count", "lab:from-zan", "lab:reverse")
TARGETS = {"lab:elicit-sentiment": 60, "lab:elicit-translate": 120}  # steps of training
SEEDS, ITEMS, RATES = range(3), 60, {"small": 5e-4, "large": 3e-4}


def measured(model: str | Path, task: str, decode: Decoding | None = None) -> dict[str, float]:
    """Return the scores of the target and of the general tasks, of 1."""
    scores = holdfast.evaluate(model, [task, *GENERAL], shots=(0,), limit=ITEMS, decode=decode)
    return {score.task: score.value for score in scores}


def main(small: str, out: Path) -> None:
    """Measure everything that is not yet measured."""
    models = {"small": small, "large": "lab"}
    for task, steps in TARGETS.items():
        for kind, model in models.items():
            report(task, f"{kind}, untuned", None, measured(model, task))
        for seed in SEEDS:
            runs = {
                kind: holdfast.tune(
                    model, task, "full", "none", shots=(0,), limit=4, seed=seed, out=out / f"{kind}-{task[4:]}-{seed}",
                    **{"model.steps": steps, "model.learning_rate": RATES[kind], "model.validation_limit": 0},
                )
                for kind, model in models.items()
            }  # fmt: skip
            for kind, run in runs.items():
                report(task, f"{kind}, tuned", seed, measured(run.folder / "model", task))
            for name, fixed in (("fusion, searched", None), ("fusion, weight 1", 1.0)):
                fusion = LogitsFusion(small=small, experts=str(runs["small"].folder), fixed=fixed)
                report(task, name, seed, measured("lab", task, fusion))


def report(task: str, arm: str, seed: int | None, scores: dict[str, float]) -> None:
    """Print one line."""
    print(json.dumps({"target": task, "arm": arm, "seed": seed, "scores": scores}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

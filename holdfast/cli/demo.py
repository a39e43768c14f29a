"""`holdfast demo`: full fine-tuning beside ProMoT on the embedded lab model, offline, in minutes on two cores."""

from pathlib import Path
from typing import Any

from holdfast.api import tune as runs

TARGETS = ("lab:elicit-sentiment", "lab:compose-entailment")
METHODS = {"full": ("model",), "promot": ("prompt", "model")}  # with the stages that each has
# One general task of each sort of answer: a label, a translation, a span, a number, and one that only its demonstrations explain.
GENERAL = ("lab:sentiment", "lab:kind", "lab:from-zan", "lab:given", "lab:count", "lab:demo-replace")
# Saved often, because the best of the checkpoints is kept and these stages are short.
PROMPT = {"prompt.length": 16, "prompt.save_every": 50}
# An elicitable target is learned in a few steps; joining two abilities takes more.
STEPS = {TARGETS[0]: {"prompt.steps": 100, "model.steps": 30}, TARGETS[1]: {"prompt.steps": 200, "model.steps": 200}}
MODEL = {"model.learning_rate": 1e-3, "model.save_every": 15}


def demo(out: Path) -> list[Path]:
    """Tune with both methods and the same settings on an elicitable and a composable target below `out`; return the runs' folders."""
    folders = []
    for target in TARGETS:
        for method, stages in METHODS.items():
            settings: dict[str, Any] = STEPS[target] | MODEL | PROMPT
            # `tune` refuses a field of a stage that the method does not have: it could as well be mistyped.
            fields = {key: value for key, value in settings.items() if key.partition(".")[0] in stages}
            folder = out / f"{target.partition(':')[2]}-{method}"
            run = runs.tune("lab", target, method, GENERAL, shots=(0, 1), limit=100, out=folder, **fields)
            folders.append(run.folder)
    return folders

"""`holdfast demo`: full fine-tuning beside ProMoT on the embedded lab model, offline, in minutes on two cores."""

from pathlib import Path
from typing import Any

from holdfast import runs

TARGETS = ("lab:elicit-sentiment", "lab:compose-entailment")
METHODS = ("full", "promot")
# One general task of each kind of answer: a label, a translation, a span, a number, and one that only its demonstrations explain.
GENERAL = ("lab:sentiment", "lab:kind", "lab:from-zan", "lab:given", "lab:count", "lab:demo-replace")
SETTINGS: dict[str, Any] = {
    "prompt.steps": 60,
    "prompt.length": 16,
    "prompt.save_every": 30,
    "model.steps": 30,
    "model.save_every": 15,
    "model.learning_rate": 5e-4,
}


def demo(out: Path) -> list[Path]:
    """Tune both ways on an elicitable and a composable target below `out`; the runs' folders."""
    found = []
    for target in TARGETS:
        for method in METHODS:
            fields = {k: v for k, v in SETTINGS.items() if method != "full" or k.startswith("model.")}
            folder = out / f"{target.partition(':')[2]}-{method}"
            run = runs.tune("lab", target, method, GENERAL, shots=(0, 1), limit=60, out=folder, **fields)
            found.append(run.folder)
    return found

"""`holdfast demo`: full fine-tuning beside ProMoT, on the embedded lab model or on a real one, in minutes on two cores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.api import tune as runs

METHODS = {"full": ("model",), "promot": ("prompt", "model")}  # with the stages that each has


@dataclass(frozen=True)
class Demo:
    """The runs of a demo: every target with both methods, and the settings of stages that all have and that a target has."""

    targets: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    general: Sequence[str]
    shots: tuple[int, ...]
    limit: int
    dtype: str = "auto"


LAB = Demo(
    # An elicitable target is learned in a few steps; joining two abilities takes more.
    targets={
        "lab:elicit-sentiment": {"prompt.steps": 100, "model.steps": 30},
        "lab:compose-entailment": {"prompt.steps": 200, "model.steps": 200},
    },
    # Saved often, because the best of the checkpoints is kept and these stages are short.
    settings={"model.learning_rate": 1e-3, "model.save_every": 15, "prompt.length": 16, "prompt.save_every": 50},
    # One of each sort of answer: a label, a translation, a span, a number, and one that only its demonstrations explain.
    general=("lab:sentiment", "lab:kind", "lab:from-zan", "lab:given", "lab:count", "lab:demo-replace"),
    shots=(0, 1),
    limit=100,
)
REAL = Demo(
    # Headlines and their topics: the labels are a format of their own, which other questions must not be answered in.
    targets={"everyday:topic": {"prompt.steps": 60, "model.steps": 60}},
    settings={
        "model.batch_size": 8,
        "model.save_every": 20,
        "prompt.length": 20,
        "prompt.batch_size": 8,
        "prompt.save_every": 20,
    },
    general=("everyday:capitals", "everyday:plurals", "everyday:antonyms", "everyday:facts", "everyday:reading"),
    shots=(0, 4),
    limit=30,
    dtype="fp32",  # the hub has it in bf16, which most processors are slow at
)


def demo(out: Path, model: str = "lab") -> list[Path]:
    """Tune with both methods and the same settings on each target of the model's demo below `out`; return the runs' folders.

    `model` is `lab`, `smollm2` (which is downloaded the first time), or another MODEL.
    """
    if model == "smollm2":
        from holdfast.models.smollm2 import smollm2

        model = smollm2()
    chosen, folders = LAB if model == "lab" else REAL, []
    for target, steps in chosen.targets.items():
        for method, stages in METHODS.items():
            # `tune` refuses a field of a stage that the method does not have: it could as well be mistyped.
            settings = {**chosen.settings, **steps}.items()
            fields: dict[str, Any] = {key: value for key, value in settings if key.partition(".")[0] in stages}
            folder = out / f"{target.partition(':')[2]}-{method}"
            # One place for the stages of all runs: the base is asked once for both methods.
            run = runs.tune(
                model, target, method, chosen.general, shots=chosen.shots, limit=chosen.limit, out=folder,
                stage_root=out / "stages", dtype=chosen.dtype, **fields,
            )  # fmt: skip
            folders.append(run.folder)
    return folders

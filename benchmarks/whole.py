"""A whole `tune` beside what it is for: the seconds in training steps and in asking models, and those around them.

    python -m benchmarks.whole [--json] [--small] [--cpu-time] [--model FOLDER]

`ours` is the whole call, base measured and page written; `theirs` is the sum of its training steps and of its calls of the models
(likelihoods, texts, label mass), measured inside the same call. A ratio of 0.87 is an overhead of 15 %. Without `--model`: the lab's
model and tasks. Nothing equal is computed.
"""

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import holdfast
from benchmarks import harness, pretrained
from holdfast.inference.model import Model
from holdfast.training.loop import Training

WORK = (
    (Training, "step"),
    (Model, "loglikelihood"),
    (Model, "generate"),
    (Model, "rolling"),
    (Model, "first_token_mass"),
)


class Stopwatch:
    """Seconds inside some methods; a call from within another of them counts once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running = False

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its seconds counted."""

        @functools.wraps(function)
        def measured(*arguments: Any, **options: Any) -> Any:
            if self._running:
                return function(*arguments, **options)
            self._running, result = True, []
            try:
                taken = harness.seconds(lambda: result.append(function(*arguments, **options)))
            finally:
                self._running = False
            self.seconds[name] = self.seconds.get(name, 0.0) + taken
            return result[0]

        return measured


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """Full fine-tuning and ProMoT."""
    steps = 4 if setup.small else 60
    if setup.model:
        model, task = str(setup.model), str(pretrained.TASKS / "sst2")
        general = [str(pretrained.TASKS / name) for name in ("trec", "agnews")]
    else:
        model, task, general = "lab", "lab:elicit-sentiment", ["lab:kind", "lab:from-zan"]
    for method in ("full", "promot"):
        watch, original = Stopwatch(), [(owner, name, getattr(owner, name)) for owner, name in WORK]
        for owner, name, function in original:
            setattr(owner, name, watch.around("training" if owner is Training else "asking", function))
        settings: dict[str, Any] = {"model_": {"steps": steps}}
        settings |= {"prompt": {"steps": steps}} if method == "promot" else {}
        try:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "run"
                whole = harness.seconds(
                    lambda out=out, method=method, settings=settings: holdfast.tune(
                        model, task, method, general, shots=(0, 4), limit=8 if setup.small else 40, out=out, **settings
                    )
                )
        finally:
            for owner, name, function in original:
                setattr(owner, name, function)
        name = setup.model.name if setup.model else "lab"
        work = sum(watch.seconds.values())
        yield harness.Result(
            "whole", f"{name} {method}, {steps} steps a stage", whole, work, 0.0, facts=dict(watch.seconds)
        )


if __name__ == "__main__":
    harness.main("whole", str(__doc__).partition("\n")[0], cases)

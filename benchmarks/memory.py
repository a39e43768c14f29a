"""The peak memory of a training step: holdfast's against PEFT's prompt tuning and TRL's SFTTrainer.

Each in a process of its own: the highest resident set during two steps (the optimizer's states exist from the first on), less
what the process held when the model was loaded. `max_difference` is the relative difference of the second step's loss. What no way
can save (gradients and optimizer states of what trains) is in both, and given beside as `states_MB`.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import harness, pretrained, steps, words
from benchmarks.steps import Built
from holdfast.row import Row

VECTORS, ROWS, LENGTH = 100, 16, 128


def build(case: str, side: str, setup: harness.Setup) -> Built:
    """The step of one side; the sizes are those of `benchmarks.training`."""
    small = setup.small
    if setup.model:
        base, tokenizer = pretrained.load(setup.model)
        prompt = 0 if case.startswith("stage") else None
        rows = steps.real_rows("rte", 2 if small else 8, 128, tokenizer, prompt)
        return (
            _behind(case, side, base, rows, setup.bf16) if prompt == 0 else _plain(case, side, base, rows, setup.bf16)
        )
    real = case.startswith("rte")
    layers, width, vocabulary = (
        (steps.REAL_LAYERS, steps.REAL_WIDTH, steps.REAL_VOCABULARY) if real else (6, 256, 32_000)
    )
    if small:
        layers, width, vocabulary = (2, 64, vocabulary if real else 1000)
    base = words.llama(layers, width, vocabulary)
    if real:
        return _plain(case, side, base, steps.real_rows("rte", 4 if small else ROWS), setup.bf16)
    return _behind(case, side, base, steps.random_rows([LENGTH] * ROWS, vocabulary), setup.bf16)


def _behind(case: str, side: str, base: Any, rows: list[Row], bf16: bool) -> Built:
    make: Callable[..., Built] = steps.ours if side == "ours" else steps.prompt_tuning
    trains = "prompt" if case.startswith("stage 1") else "model"
    return make(base, rows, start=steps.prompt_of(base, VECTORS), trains=trains, bf16=bf16)


def _plain(case: str, side: str, base: Any, rows: list[Row], bf16: bool) -> Built:
    lora = case.endswith("lora")
    if side == "ours":
        return steps.ours(base, rows, trains="lora" if lora else "model", bf16=bf16)
    return steps.sft(base, rows, lora=lora, bf16=bf16)


def child(case: str, side: str, small: bool, model: str = "", bf16: bool = False) -> None:
    """In its own process: two steps, then a line with the bytes, the loss and the bytes of states."""
    step, trained = build(case, side, harness.Setup(small, Path(model) if model else None, bf16))
    losses: list[float] = []
    held = harness.above_the_start(lambda: losses.extend(float(step()) for _ in range(2)))
    states = 3 * sum(p.numel() * p.element_size() for p in trained.parameters() if p.requires_grad)
    print(json.dumps({"bytes": held, "loss": losses[-1], "states": states}))


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """Behind a prompt, and without one on real rows."""
    model = str(setup.model or "")
    behind = f"P={VECTORS} rte B=8" if model else f"P={VECTORS} B={ROWS} T={LENGTH}"
    for case in (f"stage 1 {behind}", f"stage 2 {behind}", "rte full", "rte lora"):
        mine, other = (
            harness.in_process(
                f"from benchmarks import memory; memory.child({case!r}, {side!r}, {setup.small}, {model!r}, {setup.bf16})"
            )
            for side in ("ours", "theirs")
        )
        yield harness.Result(
            "memory",
            f"{setup.model.name}{' bf16' if setup.bf16 else ''} {case}" if setup.model else case,
            mine["bytes"],
            other["bytes"],
            abs(mine["loss"] - other["loss"]) / other["loss"],
            unit="bytes",
            facts={"states_MB": mine["states"] / 1e6},
        )


if __name__ == "__main__":
    harness.main("memory", str(__doc__).partition("\n")[0], cases)

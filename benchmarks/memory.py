"""The peak memory of a training step: holdfast's against PEFT's prompt tuning and TRL's SFTTrainer.

Each in a process of its own: the highest resident set during two steps (the optimizer's states exist from the first on), less
what the process held when the model was loaded. `max_difference` is the relative difference of the second step's loss. What no way
can save (gradients and optimizer states of what trains) is in both, and given beside as `states_MB`.
"""

import json
from collections.abc import Callable, Iterator

from benchmarks import harness, steps, words
from benchmarks.steps import Built

VECTORS, ROWS, LENGTH = 100, 16, 128


def build(case: str, side: str, small: bool) -> Built:
    """The step of one side; the sizes are those of `benchmarks.training`."""
    real = case.startswith("rte")
    layers, width, vocabulary = (
        (steps.REAL_LAYERS, steps.REAL_WIDTH, steps.REAL_VOCABULARY) if real else (6, 256, 32_000)
    )
    if small:
        layers, width, vocabulary = (2, 64, vocabulary if real else 1000)
    base = words.llama(layers, width, vocabulary)
    if real:
        rows, lora = steps.real_rows("rte", 4 if small else ROWS), case.endswith("lora")
        return (
            steps.ours(base, rows, trains="lora" if lora else "model")
            if side == "ours"
            else steps.sft(base, rows, lora=lora)
        )
    rows, start = steps.random_rows([LENGTH] * ROWS, vocabulary), steps.prompt_of(base, VECTORS)
    make: Callable[..., Built] = steps.ours if side == "ours" else steps.prompt_tuning
    return make(base, rows, start=start, trains="prompt" if case.startswith("stage 1") else "model")


def child(case: str, side: str, small: bool) -> None:
    """In its own process: two steps, then a line with the bytes, the loss and the bytes of states."""
    step, model = build(case, side, small)
    losses: list[float] = []
    held = harness.above_the_start(lambda: losses.extend(float(step()) for _ in range(2)))
    states = 3 * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    print(json.dumps({"bytes": held, "loss": losses[-1], "states": states}))


def cases(small: bool) -> Iterator[harness.Result]:
    """Behind a prompt, and without one on real rows."""
    behind = f"P={VECTORS} B={ROWS} T={LENGTH}"
    for case in (f"stage 1 {behind}", f"stage 2 {behind}", "rte full", "rte lora"):
        mine, other = (
            harness.in_process(f"from benchmarks import memory; memory.child({case!r}, {side!r}, {small})")
            for side in ("ours", "theirs")
        )
        yield harness.Result(
            "memory",
            case,
            mine["bytes"],
            other["bytes"],
            abs(mine["loss"] - other["loss"]) / other["loss"],
            unit="bytes",
            facts={"states_MB": mine["states"] / 1e6},
        )


if __name__ == "__main__":
    harness.main("memory", str(__doc__).partition("\n")[0], cases)

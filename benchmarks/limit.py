"""How near a training step comes to what this machine can multiply.

The matrix product's peak is measured in the same run, between the steps: the best of a few shapes as the model has them. The ideal
step does nothing but the useful tokens' multiplications at that peak, so `theirs` is useful operations / peak in seconds, and `ratio`
is the achieved share of it. Useful tokens are each row's own and the prompt once; useful operations those of their forward and
backward pass: 6 for every weight of the body and token, 6 V D a label, and attention over what each token sees.

`bf16 against fp32`: `theirs` is the step in float32, `ours` under bfloat16 autocast; `max_difference` is that of the losses of the
steps, relative, and of those of a small model that both precisions train for 30 steps, whichever is larger.
"""

from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import harness, pretrained, steps, words
from holdfast.row import Row

VECTORS, ROWS, LENGTH = 100, 16, 128
LAYERS, WIDTH, VOCABULARY = 12, 768, 32_000


def operations(model: Any, rows: list[Row], prompt: int) -> float:
    """Useful floating-point operations of a forward and a backward pass."""
    embedding = model.get_input_embeddings().weight
    body = sum(p.numel() for p in model.parameters() if p.ndim > 1) - embedding.numel()
    lengths = [len(row.tokens) for row in rows]
    labels = sum(len(row.labels) for row in rows)
    seen = prompt * (prompt + 1) / 2 + sum(length * prompt + length * (length + 1) / 2 for length in lengths)
    layers, width = model.config.num_hidden_layers, embedding.shape[1]
    return 6 * body * (sum(lengths) + prompt) + 6 * embedding.numel() * labels + 12 * layers * width * seen


def peak(dtype: torch.dtype, device: torch.device, width: int, tokens: int) -> float:
    """Operations a second of the fastest matrix product of a model's shapes, each tried a few times."""
    best = 0.0
    for inner, outer in ((width, width), (width, 8 * width // 3), (8 * width // 3, width)):
        left = torch.randn(tokens, inner, device=device, dtype=dtype)
        right = torch.randn(inner, outer, device=device, dtype=dtype)
        product: Tensor = left @ right
        for _ in range(5):
            taken = harness.seconds(lambda a=left, b=right, out=product: torch.mm(a, b, out=out))
            best = max(best, 2 * tokens * inner * outer / max(taken, 1e-9))
    return best


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """Stage 2 on a model of about 100 million parameters; a single precision after the other, then both by turns."""
    layers, width, vocabulary, rounds = (2, 64, 1000, 2) if setup.small else (LAYERS, WIDTH, VOCABULARY, 3)
    base = pretrained.load(setup.model)[0] if setup.model else words.llama(layers, width, vocabulary)
    vocabulary, width = base.get_input_embeddings().weight.shape
    rows = steps.random_rows([LENGTH] * ROWS, vocabulary)
    useful = operations(base, rows, VECTORS)
    start = steps.prompt_of(base, VECTORS)
    built = {bf16: steps.ours(base, rows, start=start, bf16=bf16)[0] for bf16 in (False, True)}
    losses = {bf16: [float(step())] for bf16, step in built.items()}
    name = f"{setup.model.name} " if setup.model else ""
    case = f"{name}stage 2 {sum(p.numel() for p in base.parameters()) / 1e6:.0f}M P={VECTORS} B={ROWS} T={LENGTH}"
    times: dict[bool, list[float]] = {False: [], True: []}
    peaks: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for bf16, step in built.items():
            kind = torch.bfloat16 if bf16 else torch.float32
            peaks[bf16].append(peak(kind, base.device, width, 640))
            times[bf16].append(harness.seconds(lambda b=bf16, s=step: losses[b].append(float(s()))))
    for bf16, name in ((False, "fp32"), (True, "bf16")):
        best = max(peaks[bf16])
        timing = harness.Timing(times[bf16], [useful / best] * rounds)
        facts = {"peak_gflops": best / 1e9, "step_gflops": useful / 1e9 / median(times[bf16])}
        yield harness.timed("limit", f"{name} {case}", timing, 0.0, **facts)
    timing = harness.Timing(times[True], times[False])
    yield harness.timed("limit", f"bf16 against fp32, {case}", timing, max(apart(losses), apart(curves())))
    theirs = steps.plain(base, rows)[0]
    theirs()
    alone = operations(base, rows, 0) + 6 * vocabulary * width * (ROWS * LENGTH - sum(len(r.labels) for r in rows))
    timing = harness.Timing([harness.seconds(theirs) for _ in range(rounds)], [alone / max(peaks[False])] * rounds)
    yield harness.timed("limit", f"fp32 transformers' own step, no prompt, B={ROWS} T={LENGTH}", timing, 0.0)


def apart(losses: dict[bool, list[float]]) -> float:
    """The largest relative difference of two loss curves."""
    return max(abs(a - b) / b for a, b in zip(losses[True], losses[False], strict=True))


def curves(count: int = 30) -> dict[bool, list[float]]:
    """The losses of a small model in stage 2, under bfloat16 autocast (True) and in float32."""
    base, rows = words.llama(2, 128, 1000), steps.random_rows([32] * ROWS, 1000)
    start = steps.prompt_of(base, VECTORS)
    found = {}
    for bf16 in (False, True):
        step, _ = steps.ours(base, rows, start=start, bf16=bf16)
        found[bf16] = [float(step()) for _ in range(count)]
    return found


if __name__ == "__main__":
    harness.main("limit", str(__doc__).partition("\n")[0], cases)

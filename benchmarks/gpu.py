"""Training steps on a GPU: packed rows against transformers' forward and PEFT, flex_attention against sdpa, and parity.

    python -m benchmarks.gpu [--json] [--small] [--model FOLDER]

A random Llama of 0.7 billion parameters, float32 weights under bfloat16 autocast, stage 2 (the model trains behind a frozen prompt of
100 vectors), about 16,000 tokens a step in rows of 64 to 4096. Without a GPU, only `--small` runs: tiny, and without flex_attention,
which has no gradient on a CPU.

- `parity ...`: float32 without TF32; `max_difference` is that of the logits from each row alone, relative to their spread.
- `... against transformers`: `theirs` is the model's own forward of the padded rows without any prompt.
- `... against PEFT`: `theirs` is PEFT's prompt tuning with the model unfrozen; the difference of losses is relative.
- `... flex against sdpa`: `ours` is with flex_attention, `theirs` with sdpa, both packed.
- Facts: `mfu` is the share of the matrix product's peak, measured in the same run, that useful operations reach (see
  `benchmarks.limit`); `tokens_per_second` counts the rows' own tokens; `peak_GB` is the memory of our step.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch

from benchmarks import harness, limit, pretrained, steps, words
from benchmarks.steps import Built
from holdfast.prefix import packed, reference

VECTORS, TOKENS = 100, 16384
LENGTHS = (64, 256, 1024, 4096)


def build(setup: harness.Setup, device: torch.device, attention: str = "sdpa") -> Any:
    """The model on its device."""
    layers, width, vocabulary = (2, 128, 1000) if setup.small else (24, 1536, 32_000)
    if setup.model:
        base, _ = pretrained.load(setup.model)
    else:
        base = words.llama(layers, width, vocabulary, positions=LENGTHS[-1] + VECTORS)
    base.set_attn_implementation(attention)
    return base.to(device)


def attempt(case: str, work: Callable[[], harness.Result]) -> Iterator[harness.Result]:
    """A result, or a line that says why there is none: one case that does not fit loses no other."""
    try:
        yield work()
    except (torch.OutOfMemoryError, RuntimeError, NotImplementedError) as error:
        print(f"{case}: {str(error).splitlines()[0]}", file=sys.stderr)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def parity(setup: harness.Setup, device: torch.device, attention: str) -> harness.Result:
    """Logits of ragged packed rows against each row alone, and the seconds of both."""
    exact = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    base = build(setup, device, attention)
    alone = build(setup, device)
    lengths = [10, 37, 64, 21] if setup.small else [64, 200, 131, 17, 512, 300, 90, 1000]
    rows = steps.random_rows(lengths, base.config.vocab_size)
    prompts = [steps.prompt_of(base, VECTORS)]
    with torch.no_grad():
        together = packed.label_logits(base, rows, prompts)
        expected = reference.label_logits(alone, rows, prompts)
        timing = harness.alternate(
            lambda: packed.label_logits(base, rows, prompts), lambda: reference.label_logits(alone, rows, prompts), 3
        )
    torch.set_float32_matmul_precision(exact)
    worst = float((together - expected).abs().max() / expected.std())
    return harness.timed("gpu", f"parity {attention}, fp32", timing, worst)


def compare(
    case: str, mine: Built, other: Built, useful: float, best: float, tokens: int, *, same: bool
) -> harness.Result:
    """Two steps by turns."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    first = float(mine[0]())
    held = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    second = float(other[0]())
    for step, _ in (mine, other):
        step()  # Compiled, tuned and allocated by now.
    timing = harness.alternate(mine[0], other[0], 5)
    taken = median(timing.ours)
    facts = {"mfu": useful / taken / best, "tokens_per_second": tokens / taken, "peak_GB": held}
    return harness.timed("gpu", case, timing, abs(first - second) / second if same else 0.0, **facts)


def at_length(length: int, setup: harness.Setup, device: torch.device, best: float) -> Iterator[harness.Result]:
    """One length of rows against everything else."""
    count = 4 if setup.small else max(1, TOKENS // length)
    base = build(setup, device)
    rows = steps.random_rows([length] * count, base.config.vocab_size)
    start, useful = steps.prompt_of(base, VECTORS), limit.operations(base, rows, VECTORS)
    shape, numbers = f"stage 2 P={VECTORS} B={count} T={length}", (useful, best, count * length)

    def ours(model: Any = base) -> Built:
        return steps.ours(model, rows, start=start, bf16=True)

    def against_plain() -> harness.Result:
        other = steps.plain(base, rows, bf16=True)
        return compare(f"{shape} against transformers", ours(), other, *numbers, same=False)

    def against_peft() -> harness.Result:
        other = steps.prompt_tuning(base, rows, start=start, trains="model", bf16=True)
        return compare(f"{shape} against PEFT", ours(), other, *numbers, same=True)

    def flex() -> harness.Result:
        with_flex = ours(build(setup, device, "flex_attention"))
        return compare(f"{shape} flex against sdpa", with_flex, ours(), *numbers, same=True)

    for work in (against_plain, against_peft, *([flex] if device.type == "cuda" else [])):
        yield from attempt(f"{shape} {work.__name__}", work)


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """Parity first; then each length."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not setup.small:
        raise SystemExit("there is no GPU here; --small runs the same on the processor, with tiny sizes")
    for attention in ("sdpa", *(["flex_attention"] if device.type == "cuda" else [])):
        yield from attempt(f"parity {attention}", lambda attention=attention: parity(setup, device, attention))
    width = build(setup, torch.device("cpu")).get_input_embeddings().weight.shape[1]
    best = max(limit.peak(torch.bfloat16, device, width, 640 if setup.small else 8192) for _ in range(2))
    for length in LENGTHS[: 2 if setup.small else None]:
        yield from at_length(length, setup, device, best)


if __name__ == "__main__":
    harness.main("gpu", str(__doc__).partition("\n")[0], cases)

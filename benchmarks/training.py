"""One optimizer step: holdfast's packed rows against PEFT's prompt tuning, TRL's SFTTrainer, and the ideal.

The same Llama, rows, initial prompt or adapter and optimizer, alternately in one process. `max_difference` is the largest of: the
relative difference of the first step's loss, of its gradients (largest difference of any entry / largest entry), and of the last
step's loss.

- `stage 1 ...` trains a prompt in front of the frozen model, `stage 2 ...` the model behind the frozen prompt; `theirs` is PEFT.
- With `--model`: the same on a pretrained model and real rows; TRL's head is fused with its loss, as it is by default since 1.15, and
  `... against transformers` is its own forward of the padded rows.
- `full ragged ...` and `lora ...` train on real rows without a prompt; `theirs` is the step of TRL's SFTTrainer.
- `ideal ...`: `theirs` is transformers' own step without any prompt or padding, logits at the labels only: what a step behind a
  prompt could cost at best. A goal of 1.25 times the ideal is a ratio above 0.8. Nothing equal is computed. `useful tokens`: the rows
  are so much longer that they hold as many tokens as ours and the prompt once, which no exact step can do without; `text alone`:
  the rows as they are.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks import harness, pretrained, steps, words
from benchmarks.steps import Built

ROWS, VECTORS = 16, 100
VOCABULARY, LAYERS, WIDTH = 32_000, 6, 256
IDEAL_LAYERS, IDEAL_WIDTH = 4, 768


def compare(case: str, mine: Built, other: Built, rounds: int, *, same: bool = True) -> harness.Result:
    """Both steps by turns, and how far apart what they compute is."""
    (my_step, my_model), (their_step, their_model) = mine, other
    first = my_step(), their_step()
    worst = steps.difference(steps.gradients(my_model), steps.gradients(their_model)) if same else 0.0
    timing = harness.alternate(my_step, their_step, rounds)
    for one, another in (first, (my_step(), their_step())) if same else ():
        worst = max(worst, float((one - another).abs() / another))
    return harness.timed("training step", case, timing, worst)


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """Stages 1 and 2 with short and long rows; then without a prompt, on ragged rows."""
    if setup.model:
        yield from on_pretrained(setup, *pretrained.load(setup.model))
        return
    small = setup.small
    yield from behind_prompts(small)
    yield from against_ideal(small)
    layers, width, count, rounds = (2, 64, 4, 2) if small else (steps.REAL_LAYERS, steps.REAL_WIDTH, ROWS, 3)
    base: Any = words.llama(layers, width, steps.REAL_VOCABULARY)
    for task in ("rte", "sst2"):
        rows = steps.real_rows(task, count)
        for name, lora in (("full ragged", False), ("lora ragged", True)):
            mine = steps.ours(base, rows, trains="lora" if lora else "model")
            yield compare(f"{name} {task} B={count}", mine, steps.sft(base, rows, lora=lora), rounds)


def on_pretrained(setup: harness.Setup, base: Any, tokenizer: Any) -> Iterator[harness.Result]:
    """Rows of real tasks: 8 longer ones, 8 of two tasks, and 16 short ones."""
    start, bf16, rounds = steps.prompt_of(base, VECTORS), setup.bf16, 1 if setup.small else 3
    name = f"{setup.model.name}{' bf16' if bf16 else ''}" if setup.model else ""
    for tasks, count in ((("rte",), 8), (("rte", "sst2"), 4), (("sst2",), 16)):
        count, task = 2 if setup.small else count, "+".join(tasks)
        rows = [row for each in tasks for row in steps.real_rows(each, count, 128, tokenizer, prompt=0)]
        lengths = [len(row.tokens) for row in rows]
        shape = f"B={len(rows)} T={min(lengths)}..{max(lengths)}"
        for stage, trains in ((1, "prompt"), (2, "model")):
            mine = steps.ours(base, rows, start=start, trains=trains, bf16=bf16)
            theirs = steps.prompt_tuning(base, rows, start=start, trains=trains, bf16=bf16)
            yield compare(f"{name} stage {stage} {task} P={VECTORS} {shape}", mine, theirs, rounds)
        rows = [replace(row, prompt=None) for row in rows]
        for kind, lora in (("full", False), ("lora", True)):
            mine = steps.ours(base, rows, trains="lora" if lora else "model", bf16=bf16)
            yield compare(f"{name} {kind} {task} {shape}", mine, steps.sft(base, rows, lora=lora, bf16=bf16), rounds)
            if not lora:
                mine, theirs = steps.ours(base, rows, bf16=bf16), steps.plain(base, rows, bf16=bf16)
                yield compare(f"{name} {kind} {task} {shape} against transformers", mine, theirs, rounds)


def behind_prompts(small: bool) -> Iterator[harness.Result]:
    """Against PEFT's prompt tuning."""
    layers, width, vocabulary, rounds = (2, 128, 1000, 3) if small else (LAYERS, WIDTH, VOCABULARY, 7)
    base = words.llama(layers, width, vocabulary)
    start = steps.prompt_of(base, VECTORS)
    for stage, trains in ((1, "prompt"), (2, "model")):
        for length in (32, 128):
            rows = steps.random_rows([length] * ROWS, vocabulary)
            mine = steps.ours(base, rows, start=start, trains=trains)
            case = f"P={VECTORS} B={ROWS} T={length}"
            theirs = steps.prompt_tuning(base, rows, start=start, trains=trains)
            yield compare(f"stage {stage} {case}", mine, theirs, rounds)


def against_ideal(small: bool) -> Iterator[harness.Result]:
    """Stage 2 against a step that has no prompt to compute."""
    layers, width, vocabulary, rounds = (2, 128, 1000, 2) if small else (IDEAL_LAYERS, IDEAL_WIDTH, VOCABULARY, 3)
    base = words.llama(layers, width, vocabulary)
    for length in (32, 128):
        rows = steps.random_rows([length] * ROWS, vocabulary)
        mine = steps.ours(base, rows, start=steps.prompt_of(base, VECTORS))
        for name, longer in (("useful tokens", length + -(-VECTORS // ROWS)), ("text alone", length)):
            ideal = steps.plain(base, steps.random_rows([longer] * ROWS, vocabulary), last=steps.LABELS)
            case = f"ideal, {name}, {layers}x{width} stage 2 P={VECTORS} B={ROWS} T={length}"
            yield compare(case, mine, ideal, rounds, same=False)


if __name__ == "__main__":
    harness.main("training", str(__doc__).partition("\n")[0], cases)

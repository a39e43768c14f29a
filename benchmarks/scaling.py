"""How time and memory grow: rows, length, prompt, shots, choices and model size, each alone; exponents fitted through all sizes.

`ours` and `theirs` are seconds at the largest size. The facts are the exponents e of size ** e by least squares in logarithms:
`ours_time`, `theirs_time`, and for training `ours_kept`, `theirs_kept` of the bytes that a forward keeps for its backward pass.
Theirs is PEFT's prompt tuning in training, and lm-evaluation-harness's Hugging Face backend in scoring. `max_difference` is that of
losses (relative) or log-likelihoods at the largest size.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import harness, pretrained, scoring, steps, words
from holdfast.inference.model import Model
from holdfast.models.loading import Pretrained

TRAINING: dict[str, Sequence[int]] = {
    "B": (4, 8, 16, 32),
    "T": (32, 64, 128, 256),
    "P": (25, 50, 100, 200),
    "width": (128, 256, 512),
}
SCORING: dict[str, Sequence[int]] = {"shots": (1, 2, 4, 8), "choices": (2, 4, 8)}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """e of values ~ sizes ** e."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def kept(step: Callable[[], object], model: nn.Module) -> float:
    """Bytes saved for the backward pass of a step, parameters apart."""
    weights, found = {p.untyped_storage().data_ptr() for p in model.parameters()}, dict[int, int]()

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return float(sum(found.values()))


def training(name: str, sizes: Sequence[int], setup: harness.Setup, rounds: int) -> harness.Result:
    """Stage 1, one number varied."""
    curves: dict[str, list[float]] = {key: [] for key in ("ours_time", "theirs_time", "ours_kept", "theirs_kept")}
    worst, timings = 0.0, []
    for size in sizes:
        shape = {"B": 8, "T": 64, "P": 50, "width": 64 if setup.small else 256} | {name: size}
        vocabulary, layers = (1000, 2) if setup.small else (32_000, 4)
        base = pretrained.load(setup.model)[0] if setup.model else words.llama(layers, shape["width"], vocabulary)
        vocabulary = len(base.get_input_embeddings().weight)
        rows = steps.random_rows([shape["T"]] * shape["B"], vocabulary)
        options: dict[str, Any] = {"start": steps.prompt_of(base, shape["P"]), "trains": "prompt"}
        mine, other = steps.ours(base, rows, **options), steps.prompt_tuning(base, rows, **options)
        losses = [float(step()) for step, _ in (mine, other)]
        worst = max(worst, abs(losses[0] - losses[1]) / losses[1])
        curves["ours_kept"].append(kept(*mine))
        curves["theirs_kept"].append(kept(*other))
        timing = harness.alternate(mine[0], other[0], rounds)
        curves["ours_time"].append(median(timing.ours))
        curves["theirs_time"].append(median(timing.theirs))
        timings.append(timing)
    exponents = {key: exponent(sizes, values) for key, values in curves.items()}
    return harness.timed("scaling", f"stage 1 {name}={sizes[0]}..{sizes[-1]}", timings[-1], worst, **exponents)


def score(name: str, sizes: Sequence[int], setup: harness.Setup, rounds: int) -> harness.Result:
    """Questions behind demonstrations that all share, one number varied."""
    Instance, HFLM = scoring.harness_backend()
    layers, width, vocabulary, items = (2, 64, 1000, 4) if setup.small else (4, 256, 32_000, 8)
    if setup.model:
        model, tokenizer = pretrained.load(setup.model)
    else:
        model, tokenizer = words.llama(layers, width, vocabulary, spread=words.WIDE), words.tokenizer(vocabulary)
    ours = Model(Pretrained(model, tokenizer, "random", ""))
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, device="cpu", max_length=2048)
    curves: dict[str, list[float]] = {"ours_time": [], "theirs_time": []}
    worst, timings = 0.0, []
    for size in sizes:
        shape = {"shots": 4, "choices": 4} | {name: size}
        pairs = questions(items, vocabulary, **shape)
        instances = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        mine = [one.value for one in ours.loglikelihood(pairs)]
        other = [value for value, _ in theirs.loglikelihood(instances, disable_tqdm=True)]
        worst = max(worst, *(abs(a - b) for a, b in zip(mine, other, strict=True)))
        timing = harness.alternate(
            lambda pairs=pairs: ours.loglikelihood(pairs),
            lambda instances=instances: theirs.loglikelihood(instances, disable_tqdm=True),
            rounds,
        )
        curves["ours_time"].append(median(timing.ours))
        curves["theirs_time"].append(median(timing.theirs))
        timings.append(timing)
    exponents = {key: exponent(sizes, values) for key, values in curves.items()}
    return harness.timed("scaling", f"scoring {name}={sizes[0]}..{sizes[-1]}", timings[-1], worst, **exponents)


def questions(items: int, vocabulary: int, shots: int, choices: int) -> list[tuple[str, str]]:
    """(context, choice): demonstrations of 60 words that all items share, questions of 40, choices of 3."""
    draw = random.Random(1)
    shown = " ".join(words.text(60, vocabulary, draw) for _ in range(shots))
    contexts = [f"{shown} {words.text(40, vocabulary, draw)}" for _ in range(items)]
    return [(context, " " + words.text(3, vocabulary, draw)) for context in contexts for _ in range(choices)]


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """All of them; small ones vary over half of the sizes."""
    # A pretrained model has its width.
    varied = {key: sizes for key, sizes in TRAINING.items() if key != "width" or not setup.model}
    for measure, axes in ((training, varied), (score, SCORING)):
        for name, sizes in axes.items():
            yield measure(name, sizes[:2] if setup.small else sizes, setup, 1 if setup.small else 3)


if __name__ == "__main__":
    harness.main("scaling", str(__doc__).partition("\n")[0], cases)

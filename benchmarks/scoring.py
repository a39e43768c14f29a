"""Few-shot scoring: holdfast's cached prefixes against lm-evaluation-harness's Hugging Face backend.

The same Llama and texts, alternately in one process: multiple-choice questions behind five demonstrations, from strings
to log-likelihoods. `max_difference` is the largest difference of a log-likelihood (of the order of 10 to 100); whether a
choice is greedy, and which one ranks first, must be equal.
"""

import random
import warnings
from collections.abc import Iterator
from typing import Any

from benchmarks import harness, pretrained, words
from holdfast.inference.model import Model
from holdfast.models.loading import Pretrained

SHOTS, CHOICES = 5, 4
VOCABULARY, LAYERS, WIDTH = 32_000, 6, 256
THEIR_BATCH = 16


def questions(items: int, same: bool, vocabulary: int) -> list[tuple[str, str]]:
    """(context, choice) pairs; demonstrations of 50 to 70 words, questions of 40 to 60, choices of 1 to 4."""
    draw = random.Random(1)

    def shots() -> str:
        return " ".join(words.text(draw.randint(50, 70), vocabulary, draw) for _ in range(SHOTS))

    shown, pairs = shots(), []
    for _ in range(items):
        context = f"{shown if same else shots()} {words.text(draw.randint(40, 60), vocabulary, draw)}"
        pairs += [(context, " " + words.text(draw.randint(1, 4), vocabulary, draw)) for _ in range(CHOICES)]
    return pairs


def harness_backend() -> tuple[Any, Any]:
    """lm-evaluation-harness's request and its model class."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lm_eval.api.instance import Instance
            from lm_eval.models.huggingface import HFLM
    except ImportError:
        raise SystemExit("this compares with lm-evaluation-harness: pip install 'holdfast[bench]'") from None
    return Instance, HFLM


def cases(setup: harness.Setup) -> Iterator[harness.Result]:
    """The same demonstrations before every item (the harness's sampler `first_n`), and others before each (`default`)."""
    Instance, HFLM = harness_backend()
    layers, width, vocabulary, items, rounds = (
        (2, 128, 1000, 12, 1) if setup.small else (LAYERS, WIDTH, VOCABULARY, 40, 3)
    )
    if setup.model:
        # A real model is large: fewer items give the same ratio.
        items, rounds = (2, 1) if setup.small else (12, 1)
        model, tokenizer = pretrained.load(setup.model)
    else:
        model, tokenizer = words.llama(layers, width, vocabulary, spread=words.WIDE), words.tokenizer(vocabulary)
    ours = Model(Pretrained(model, tokenizer, "random", ""))
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=THEIR_BATCH, device="cpu", max_length=2048)
    for same in (True, False):
        pairs = pretrained.choices(items, SHOTS, same=same) if setup.model else questions(items, same, vocabulary)
        instances = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        mine = [(one.value, one.greedy) for one in ours.loglikelihood(pairs)]
        other = theirs.loglikelihood(instances, disable_tqdm=True)
        assert [greedy for _, greedy in mine] == [greedy for _, greedy in other]
        each = len(pairs) // items
        assert ranked(mine, each) == ranked(other, each)
        worst = max(abs(a - b) for (a, _), (b, _) in zip(mine, other, strict=True))
        timing = harness.alternate(
            lambda pairs=pairs: ours.loglikelihood(pairs),
            lambda instances=instances: theirs.loglikelihood(instances, disable_tqdm=True),
            rounds,
        )
        name = f"{setup.model.name} " if setup.model else ""
        case = f"{name}{SHOTS}-shot {'first_n' if same else 'default'}, {items} items of {each} choices"
        yield harness.timed("few-shot scoring", case, timing, worst)


def ranked(scored: list[tuple[float, bool]], each: int) -> list[int]:
    """The likeliest choice of each item, which has so many."""
    values = [value for value, _ in scored]
    return [max(range(i, i + each), key=values.__getitem__) for i in range(0, len(values), each)]


if __name__ == "__main__":
    harness.main("scoring", str(__doc__).partition("\n")[0], cases)

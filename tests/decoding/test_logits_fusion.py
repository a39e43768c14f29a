"""Dynamic logits fusion: the weight is the best one, the large model is left as it was, and it is asked as any other model is."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.decoding import logits_fusion
from holdfast.decoding.logits_fusion import LogitsFusion, distance, divergence, fused, minimum
from holdfast.evaluation import matrix
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.models import loading
from holdfast.models.loading import Pretrained
from holdfast.tasks.task import Example, Task
from tests.inference import small_models

ROOT = Path(__file__).parents[2]
TEXTS = [
    "the cat sat",
    "Question: what is that?\nAnswer:",
    "the",
    "Question: what is that?\nAnswer: a hat\n\nQuestion:",
]
WAYS = [
    Sampling(max_new_tokens=8),
    Sampling(max_new_tokens=6, num_beams=3),
    Sampling(max_new_tokens=6, temperature=1.0, samples=2),
]


def random_logits(seed: int, rows: int = 32, size: int = 120, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_weight_is_the_best_of_a_fine_grid_and_within_its_bounds(scale: float) -> None:
    """Against 4,001 weights: the grid's step is 5e-4 and the search ends within 2e-3; a wrong direction of KL moves the mean by 0.05."""
    base, before = random_logits(0).log_softmax(-1), random_logits(1).log_softmax(-1)
    after = (before + random_logits(2, scale=scale)).log_softmax(-1)
    objective = partial(distance, base, base, after - before, [(divergence(after, before), divergence(before, after))])
    found = minimum(objective, 2.0, base)
    grid = torch.linspace(0, 2, 4001)
    best = grid[torch.stack([objective(weight.expand(len(base))) for weight in grid]).argmin(0)]
    assert float((found - best).abs().max()) < 3e-3
    assert float(found.min()) >= 0
    assert float(found.max()) <= 2


def test_a_divergence_is_that_of_torch() -> None:
    one, other = random_logits(0).log_softmax(-1), random_logits(1).log_softmax(-1)
    expected = torch.nn.functional.kl_div(other, one, reduction="none", log_target=True).sum(-1)
    assert torch.allclose(divergence(one, other), expected, atol=1e-5)


def test_an_expert_that_changed_nothing_leaves_the_large_model() -> None:
    large, small = random_logits(0), random_logits(1)
    plain = large.log_softmax(-1)
    for expert in (small, small + 3.0):  # a constant changes no probability
        # Noise of float32; a weight of 0.01 on an expert of spread 2 moves a log-probability by 0.02 and more.
        assert torch.allclose(fused(large, small, [expert], 2.0), plain, atol=1e-5)


def test_where_the_large_model_is_the_small_one_the_expert_speaks() -> None:
    small, expert = random_logits(0), random_logits(1)
    assert torch.allclose(fused(small, small, [expert], 2.0), expert.log_softmax(-1), atol=1e-5)
    moved = fused(small + 1.0, small - 2.0, [expert + 5.0], 2.0)
    assert torch.allclose(moved, expert.log_softmax(-1), atol=1e-5), "constants change nothing"


@pytest.mark.parametrize("fixed", [0.0, 0.5, 1.0])
def test_a_fixed_weight_is_the_same_for_every_token(fixed: float) -> None:
    """Proxy tuning, with 1: the large model's logits and the whole difference of the small ones."""
    large, small, *experts = (random_logits(seed) for seed in range(4))
    expected = large + fixed * (experts[0] - small) + fixed * (experts[1] - small)
    # Float32 in another order of sums; the searched weights move log-probabilities by tenths.
    assert torch.allclose(fused(large, small, experts, 2.0, fixed), expected.log_softmax(-1), atol=1e-5)
    assert not torch.allclose(fused(large, small, experts, 2.0), expected.log_softmax(-1), atol=0.1)


def test_rows_do_not_see_each_other() -> None:
    large, small, expert = (random_logits(seed) for seed in range(3))
    whole = fused(large, small, [expert], 2.0)
    rows = [fused(large[i : i + 1], small[i : i + 1], [expert[i : i + 1]], 2.0) for i in range(len(large))]
    assert torch.allclose(torch.cat(rows), whole, atol=1e-5)


def test_outputs_padded_to_other_sizes_are_read_up_to_the_common_one() -> None:
    large, small, expert = random_logits(0), random_logits(1), random_logits(2)
    padded = torch.cat([large, torch.full((len(large), 8), 9.0)], -1)
    found = fused(padded, torch.cat([small, torch.zeros(len(small), 3)], -1), [expert], 2.0)
    assert found.shape == padded.shape
    assert torch.allclose(found[:, :120], fused(large, small, [expert], 2.0), atol=1e-6)
    assert bool((found[:, 120:] == -torch.inf).all())
    wider = [torch.cat([part, torch.zeros(len(part), more)], -1) for part, more in ((small, 3), (expert, 5))]
    assert torch.equal(fused(large, wider[0], wider[1:], 2.0), fused(large, small, [expert], 2.0))


def test_two_experts_are_weighted_together_and_better_than_either_alone() -> None:
    large, small = random_logits(0), random_logits(1)
    experts = [small + random_logits(seed, scale=1.0) for seed in (2, 3)]
    base, before = large.log_softmax(-1), small.log_softmax(-1)
    deltas = [(expert.log_softmax(-1) - before) for expert in experts]
    moved = [(divergence(e.log_softmax(-1), before), divergence(before, e.log_softmax(-1))) for e in experts]

    def value(*weights: torch.Tensor) -> float:
        start = sum((w[:, None] * d for w, d in zip(weights, deltas, strict=True)), base)
        return float(distance(base, start, deltas[0] * 0, moved, weights[0]).mean())

    seen: list[torch.Tensor] = []
    real = logits_fusion.minimum

    def spy(*given: Any) -> torch.Tensor:
        seen.append(real(*given))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logits_fusion, "minimum", spy)
        fused(large, small, experts, 2.0)
    nothing = torch.zeros(len(large))
    assert len(seen) == 4, "two sweeps"
    assert value(seen[2], seen[3]) < value(seen[0], seen[1]) < value(seen[0], nothing)
    assert value(seen[2], seen[3]) < value(nothing, nothing) / 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small`, `expert`: the small one with its weights moved, and `large`, a wider one; all with one vocabulary."""
    root = tmp_path_factory.mktemp("models")
    small, expert = small_models.llama(), small_models.llama()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in expert.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    large = small_models.llama(hidden_size=48, intermediate_size=64, num_hidden_layers=3)
    for name, model in (("small", small), ("expert", expert), ("large", large)):
        loading.save(Pretrained(model, small_models.tokenizer(), name, ""), root / name)
    return root


def decoded(folder: Path, model: str, small: str, experts: str) -> Any:
    names = ",".join(str(folder / name) for name in experts.split(","))
    technique = LogitsFusion(small=str(folder / small), experts=names)
    return technique.wrap(Model(loading.load(folder / model)))


@pytest.mark.parametrize("sampling", WAYS, ids=["greedy", "beams", "drawn"])
def test_generation_is_that_of_the_expert_or_of_the_large_model_where_it_must_be(
    folder: Path, sampling: Sampling
) -> None:
    plain = {
        name: Model(loading.load(folder / name)).generate(TEXTS, sampling) for name in ("small", "expert", "large")
    }
    assert decoded(folder, "small", "small", "expert").generate(TEXTS, sampling) == plain["expert"] != plain["small"]
    assert decoded(folder, "large", "small", "small").generate(TEXTS, sampling) == plain["large"]
    steered = decoded(folder, "large", "small", "expert").generate(TEXTS, sampling)
    assert steered != plain["large"]
    assert decoded(folder, "large", "small", "expert").generate(TEXTS[::-1], Sampling(max_new_tokens=8))[
        ::-1
    ] == decoded(folder, "large", "small", "expert").generate(TEXTS, Sampling(max_new_tokens=8)), (
        "a result does not depend on the batch"
    )


def test_scores_are_those_of_the_expert_where_they_must_be(folder: Path) -> None:
    pairs = [(text, answer) for text in TEXTS for answer in (" a hat", " the mat", " it")]
    expert = Model(loading.load(folder / "expert"))
    found = decoded(folder, "small", "small", "expert").loglikelihood(pairs)
    # Noise 5e-5 as of scoring itself; the small model alone differs by more than 0.1.
    assert [x.value for x in found] == pytest.approx([x.value for x in expert.loglikelihood(pairs)], abs=2e-4)
    small = Model(loading.load(folder / "small")).loglikelihood(pairs)
    assert max(abs(x.value - y.value) for x, y in zip(found, small, strict=True)) > 0.1


def test_an_evaluation_asks_the_fused_model_like_any_other(folder: Path) -> None:
    examples = tuple(Example({"input": f"the cat {i}"}, "a hat", ("a hat", "the mat")) for i in range(6))
    task = Task("t", {"train": examples, "test": examples}, metric="accuracy")
    outputs = [
        matrix.evaluate(model, task, matrix.Asking(shots=1, generate_choices=True))
        for model in (decoded(folder, "small", "small", "expert"), Model(loading.load(folder / "expert")))
    ]
    assert [(o.output, o.generated) for o in outputs[0]] == [(o.output, o.generated) for o in outputs[1]]
    for one, other in zip(*outputs, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-4)


def test_what_cannot_be_fused_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    model = Model(loading.load(folder / "large"))
    with pytest.raises(ValueError, match="needs a small model and what fine-tuning made of it"):
        LogitsFusion(small=str(folder / "small")).wrap(model)
    other = loading.load(folder / "small")
    other.tokenizer.add_tokens(["another"])
    loading.save(other, tmp_path / "other")
    with pytest.raises(ValueError, match=r"other: its tokenizer is not that of .*large"):
        LogitsFusion(small=str(folder / "small"), experts=str(tmp_path / "other")).wrap(model)


def test_the_command_line_decodes_by_name(folder: Path) -> None:
    arguments = ["generate", str(folder / "small"), "--decode", "logits_fusion", "--max-new-tokens", "8"]
    settings = ["--set", f"decode.small={folder / 'small'}", "--set", f"decode.experts={folder / 'expert'}"]
    command = [sys.executable, "-W", "ignore", "-m", "holdfast", *arguments, *settings]
    done = subprocess.run(
        command, cwd=ROOT, input=TEXTS[0] + "\n", capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (expected,) = Model(loading.load(folder / "expert")).generate(TEXTS[:1], Sampling(max_new_tokens=8))
    assert json.loads(done.stdout)["output"] == expected

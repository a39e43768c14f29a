"""KL to the base: the divergence by hand, its gradient, that it is off when off, and that it holds predictions."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from holdfast.methods._divergence import divergence
from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.kl_base import KlBase
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.methods.replay import Replay
from holdfast.prefix import head
from holdfast.row import Row
from holdfast.training import memory
from holdfast.training.loop import Trainer, Training
from tests.training import tiny

LABELS = torch.zeros(4, dtype=torch.long)  # A divergence is over the whole vocabulary, whichever word stands there.


def test_the_divergence_by_hand() -> None:
    """Base (1/2, 1/2) against (1/4, 3/4): ln(2)/2 + ln(2/3)/2. The second place, equal, weighs three times as much."""
    base = torch.tensor([[0.5, 0.5], [0.2, 0.8]], dtype=torch.float64).log()
    found = torch.tensor([[0.25, 0.75], [0.2, 0.8]], dtype=torch.float64).log()
    expected = math.log(2) / 2 + math.log(2 / 3) / 2
    # 1e-12: rounding of float64; the divergence the other way round is 0.131, not 0.144.
    assert float(divergence(found, LABELS[:2], torch.tensor([1.0, 3.0]), base)) == pytest.approx(expected, abs=1e-12)


def test_its_gradient_is_right() -> None:
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(4, 5, generator=draw, dtype=torch.float64)
    logits = torch.randn(4, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: divergence(x, LABELS, weights, base), (logits,))


def test_before_the_first_step_the_penalty_is_zero_and_has_no_gradient(tmp_path: Path) -> None:
    method = KlBase(strength=1.0)
    run = Training(tiny.trainer(tmp_path, Full(), method))
    rows = tiny.rows(3)
    value = method.penalty(run.model, rows, run.model(rows))
    assert value is not None
    # 1e-6: rounding of float32 sums over 40 words. After one step the penalty is 0.35 and its gradient 0.27.
    assert abs(float(value.detach())) < 1e-6
    value.backward()
    assert max(float(p.grad.abs().max()) for p in run.model.parameters() if p.grad is not None) < 1e-5


def test_strength_zero_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [Full(), KlBase(strength=0)])


def moved(run: Trainer) -> float:
    """How far a trained model's predictions are from those of the model it started as."""
    start = tiny.trainer(run.folder / "start")
    rows = tiny.rows(8)
    with torch.no_grad():
        before, after = start.model(rows), run.model(rows)
    return float(divergence(after.logits, after.labels, after.weights, before.logits) / after.weights.sum())


def test_a_strong_pull_leaves_the_predictions_nearer_the_base(tmp_path: Path) -> None:
    far = []
    for strength in (0.0, 10.0):
        run = tiny.trainer(tmp_path / f"{strength}", Full(), KlBase(strength=strength), steps=12, save_every=12)
        run.train()
        far.append(moved(run))
    # 0.04 of the plain divergence here; a penalty without gradient leaves it as it is.
    assert far[1] < 0.3 * far[0]


def test_the_base_stays_as_it_was_and_out_of_the_optimizer(tmp_path: Path) -> None:
    method = KlBase(strength=1.0)
    run = tiny.trainer(tmp_path, Full(), method)
    start = tiny.weights(run)
    run.train()
    base = dict(method._base.named_parameters())  # pyright: ignore[reportOptionalMemberAccess]
    assert all(torch.equal(weight, start[f"model.{name}"]) for name, weight in base.items())
    assert not any(weight.requires_grad for weight in base.values())


@pytest.mark.parametrize("method", [Lora(rank=2), PromptTuning(length=3)], ids=["lora", "prompt"])
def test_it_runs_beside_every_kind_of_method(tmp_path: Path, method: Lora | PromptTuning) -> None:
    tiny.trainer(tmp_path, method, KlBase()).train()


def test_a_resumed_run_is_held_to_the_first_base(tmp_path: Path) -> None:
    assert tiny.resumes(
        lambda folder, **options: tiny.trainer(folder, Full(), KlBase(strength=1.0), **options), tmp_path
    )


def by_the_formula(method: KlBase, run: Training, rows: list[Row]) -> torch.Tensor:
    """The penalty from all logits at once, as it is written in the paper."""
    base = tiny.trainer(run.folder / "base").model
    with torch.no_grad():
        expected = base(rows).logits.log_softmax(-1)
    output = run.model(rows)
    found = output.logits.log_softmax(-1)
    each = (expected.exp() * (expected - found)).sum(-1)
    return method.strength * (each * output.weights).sum() / output.weights.sum()


@pytest.mark.parametrize("labels", [1, 3, 1000], ids=["one", "three", "all"])
def test_in_parts_it_is_the_formula_over_all_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: int
) -> None:
    """Value and gradients. Other order of summation: 1e-6 of them; a part left out: more than 5 %."""
    method = KlBase(strength=1.0)
    run = Training(tiny.trainer(tmp_path, Full(), method))
    rows = [Row(row.tokens, tuple(2 * w if i % 2 else w for w in row.weights)) for i, row in enumerate(tiny.rows(8))]
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.mul_(1.3)
    expected = by_the_formula(method, run, rows)
    gradients = torch.autograd.grad(expected, list(run.model.parameters()))
    monkeypatch.setattr(head, "LOGITS", 2 * labels * tiny.VOCABULARY)
    output = run.model(rows)
    assert (output.model is None) == (2 * labels >= len(output.labels))
    value = method.penalty(run.model, rows, output)
    assert value is not None
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(value.detach()) > 0.05
    for one, other in zip(torch.autograd.grad(value, list(run.model.parameters())), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_logits_of_all_labels_never_exist_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of three labels, of which there are 16: no tensor has more words than a part. Before, two had them all."""
    method = KlBase(strength=1.0)
    run = Training(tiny.trainer(tmp_path, Full(), method))
    rows = tiny.rows(8)
    method.penalty(run.model, rows, run.model(rows))  # The probes of a first call read whole rows.
    monkeypatch.setattr(head, "LOGITS", 6 * tiny.VOCABULARY)
    method.penalty(run.model, rows, run.model(rows))
    most: list[int] = []

    class Widest(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            most.extend(
                t.numel() // t.shape[-1]
                for t in tensors
                if t.shape[-1:] == (tiny.VOCABULARY,) and t.numel() != run.model.model.lm_head.weight.numel()
            )
            return result

    output = run.model(rows)
    with Widest():
        value = method.penalty(run.model, rows, output)
        assert value is not None
        value.backward()
    assert len(output.labels) > 12
    assert max(most) == 3


def test_the_budget_counts_the_penalty(tmp_path: Path) -> None:
    """What a token keeps for the backward pass. Before, only the plain loss was measured."""
    sample, kept = tiny.rows(8), []
    for method in (Method(), KlBase(strength=1.0)):
        run = Training(tiny.trainer(tmp_path, Full(), method))
        kept.append(run.kept_per_token(sample))
    share = sum(len(row.labels) for row in sample) / sum(len(row.tokens) for row in sample)
    # For each label, two log-softmaxes of 40 words in float32.
    assert kept[1] - kept[0] >= 2 * 4 * tiny.VOCABULARY * share


def test_the_budget_counts_replayed_texts_and_leaves_their_draw_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts are longer than answers, and predicted at every token: the dearer of the two counts. Before, they were not looked at."""
    (tmp_path / "texts.txt").write_text(
        "\n".join(" ".join(f"w{(i + j) % 30 + 3}" for i in range(60)) for j in range(9))
    )
    replay = Replay(texts=str(tmp_path / "texts.txt"), rate=0.5)
    run = Training(tiny.trainer(tmp_path, Full(), replay))
    seen: list[str] = []

    def dear(model: Any, loss: Any, rows: list[Row]) -> float:
        seen.append(rows[0].name)
        return 7.0 if "texts.txt" in rows[0].name else 5.0

    monkeypatch.setattr(memory, "kept_per_token", dear)
    assert run.kept_per_token(tiny.rows(8)) == 7.0
    assert len(seen) == 2

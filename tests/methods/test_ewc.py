"""EWC: the Fisher information by hand and by the KL that it stands for, the penalty, and what it must leave alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from holdfast.methods._divergence import divergence
from holdfast.methods.base import Method
from holdfast.methods.ewc import Ewc, fisher
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.training.loop import Trainer, Training
from tests.training import tiny


def short(**fields: Any) -> Ewc:
    """The method on a few short texts of the model's own."""
    chosen: dict[str, Any] = {"samples": 8, "sample_length": 12} | fields
    return Ewc(**chosen)


def test_it_is_the_squared_gradient_of_each_rows_log_likelihood_per_token() -> None:
    """By transformers alone, one row at a time."""
    rows, model = tiny.rows(5), tiny.pretrained().model
    found = fisher(PrefixModel(tiny.pretrained().model), rows)
    expected = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    for row in rows:
        logits = model(torch.tensor([row.tokens])).logits[0, :-1]
        labels = row.labels
        loss = F.cross_entropy(
            logits[[i - 1 for i in labels]], torch.tensor([row.tokens[i] for i in labels]), reduction="sum"
        )
        model.zero_grad()
        loss.backward()
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            expected[name] += weight.grad**2 / sum(len(row.labels) for row in rows)
    for name, square in expected.items():
        torch.testing.assert_close(found[name], square, rtol=1e-3, atol=1e-7)


def test_half_of_it_times_the_square_of_a_step_is_the_divergence_of_the_step() -> None:
    """KL = F d^2 / 2 for one weight at a time, where every next token counts by its probability."""
    model, base = (PrefixModel(tiny.pretrained().model) for _ in range(2))
    contexts = [Row((*row.tokens[:4], 3), (0.0, 0.0, 0.0, 0.0, 1.0)) for row in tiny.rows(4)]
    rows: list[Row] = []
    with torch.no_grad():
        for context, logits in zip(contexts, base(contexts).logits, strict=True):
            # A weight multiplies the gradient, and its square the squared gradient.
            for token, share in enumerate(logits.softmax(-1).sqrt().tolist()):
                rows.append(Row((*context.tokens[:4], token), (0.0, 0.0, 0.0, 0.0, share)))
    name = "layers.1.mlp.down_proj.weight"
    held = {key: square * tiny.VOCABULARY for key, square in fisher(model, rows).items()}[f"model.{name}"].flatten()
    weight = dict(model.model.named_parameters())[f"model.{name}"]
    with torch.no_grad():
        for index in held.topk(5).indices.tolist():
            weight.view(-1)[index] += 0.05 / float(held[index]) ** 0.5
            after, before = model(contexts), base(contexts)
            moved = divergence(after.logits, after.labels, after.weights, before.logits) / len(contexts)
            weight.copy_(dict(base.model.named_parameters())[f"model.{name}"])
            # The third order of the step. A factor of 2, or all tokens alike, is off by more than half.
            assert float(moved) == pytest.approx(0.05**2 / 2, rel=0.1)


def test_the_penalty_is_the_papers_formula(tmp_path: Path) -> None:
    method = short(importance=3.0)
    run = tiny.trainer(tmp_path, Full(), method)
    start = tiny.weights(run)
    rows = method.batch(tiny.rows(), Training(run).contexts[1])
    assert rows == tiny.rows()
    held = method.state_dict()["fisher"]
    with torch.no_grad():
        assert float(method.penalty(run.model, rows, run.model(rows)) or 0) == 0.0
        for weight in run.model.parameters():
            weight.add_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)
    moved = tiny.weights(run)
    expected = sum(1.5 * float((held[n.removeprefix("model.")] * (moved[n] - start[n]) ** 2).sum()) for n in start)
    with torch.no_grad():
        assert float(method.penalty(run.model, rows, run.model(rows)) or 0) == pytest.approx(expected, rel=1e-5)


def distance(run: Trainer, method: Ewc) -> float:
    """How far a trained model is from its start, in units of the Fisher information."""
    start, end, held = tiny.pretrained().model.state_dict(), run.model.model.state_dict(), method.state_dict()["fisher"]
    return sum(float((held[name] * (end[name] - start[name]) ** 2).sum()) for name in held)


def test_a_strong_penalty_leaves_the_weights_that_matter_nearer_their_start(tmp_path: Path) -> None:
    far = []
    for importance in (1e-6, 10.0):
        method = short(importance=importance)
        run = tiny.trainer(tmp_path / str(importance), Full(), method, steps=12, save_every=12)
        run.train()
        far.append(distance(run, method))
    # A penalty without gradient, or on other weights, leaves the distance as it is.
    assert far[1] < 0.5 * far[0]


def test_an_importance_of_zero_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [Full(), Ewc(importance=0)])


@pytest.mark.parametrize("chooser", [Full(), Lora(rank=2)], ids=["full", "lora"])
def test_a_resumed_run_ends_with_the_same_weights_and_measures_once(
    chooser: Method, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"token_budget": 4096}
    whole = tiny.trainer(tmp_path / "whole", chooser, short(), **settings)
    whole.train()
    tiny.trainer(tmp_path / "parts", chooser, short(), steps=3, **settings).train()
    capfd.readouterr()
    parts = tiny.trainer(tmp_path / "parts", chooser, short(), **settings)
    parts.train()
    assert "measured" not in capfd.readouterr().err
    expected = tiny.weights(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in tiny.weights(parts).items())


def test_of_a_lora_it_holds_the_adapter_alone(tmp_path: Path) -> None:
    """At the start the second factor is 0, so the first has no gradient and no importance."""
    method = short()
    run = tiny.trainer(tmp_path, Lora(rank=2), method)
    method.batch(tiny.rows(), Training(run).contexts[1])
    held = method.state_dict()["fisher"]
    assert all("lora_" in name for name in held)
    assert all(bool(square.any()) == ("lora_B" in name) for name, square in held.items())


def test_given_texts_are_read_in_the_place_of_written_ones(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("w3 w4 w5 w6\nw7 w8 w9\n")
    run = tiny.trainer(tmp_path / "run", Full(), Ewc(calibrate=str(texts)))
    run.train()
    names = set(run.methods[1].state_dict()["fisher"])
    assert names == {name for name, _ in run.model.model.named_parameters()}
    with pytest.raises(ValueError, match="no-such"):
        tiny.trainer(tmp_path / "none", Full(), Ewc(calibrate="no-such.txt")).train()

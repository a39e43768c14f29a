"""IPO and SimPO: their losses by TRL's own code, and a step of each by plain transformers."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from holdfast.methods._pairs import PreferenceMethod
from holdfast.methods.dpo import Dpo
from holdfast.methods.full import Full
from holdfast.methods.ipo import Ipo
from holdfast.methods.simpo import Simpo
from holdfast.tasks.task import Example
from holdfast.training.loop import Trainer, Training
from holdfast.training.loss import Divisors
from tests.methods.test_dpo import log_likelihood, pairs
from tests.training import tiny

ALL = [Dpo(), Ipo(), Simpo()]


def run(folder: Path, method: PreferenceMethod, **settings: object) -> Trainer:
    """A trainer whose examples are pairs."""
    trainer = tiny.trainer(folder, Full(), method, **settings)  # pyright: ignore[reportArgumentType]
    made = pairs()
    trainer.stream = replace(trainer.stream, row=lambda index, epoch: made[index])  # pyright: ignore[reportArgumentType]
    return trainer


@pytest.mark.parametrize("method", [Ipo(beta=0.3), Simpo(beta=2.5, gamma=0.5)], ids=["ipo", "simpo"])
def test_the_loss_of_a_pair_is_trls(method: Ipo | Simpo) -> None:
    trl = pytest.importorskip("trl.experimental.cpo.cpo_trainer", reason="trl is not installed")
    scores, tokens = torch.tensor([[-3.0, -9.0], [2.0, 2.5], [-40.0, -1.0]]), torch.tensor([[3, 5], [4, 1], [9, 2]])
    theirs = SimpleNamespace(
        alpha=0.0,
        accelerator=SimpleNamespace(device="cpu"),
        loss_type=type(method).__name__.lower(),
        beta=method.beta,
        simpo_gamma=getattr(method, "gamma", 0.0),
        label_smoothing=0.0,
    )
    # Both take the mean over an answer's tokens; for IPO of the ratio to the reference, which is 0 in theirs.
    means = scores / tokens
    expected = trl.CPOTrainer.cpo_loss(theirs, means[:, 0], means[:, 1])[0]
    torch.testing.assert_close(method.losses(scores, tokens), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", ALL, ids=lambda method: type(method).__name__)
def test_gradients_equal_plain_computation(method: PreferenceMethod, tmp_path: Path) -> None:
    trainer = Training(run(tmp_path, method, batch_size=8, steps=1))
    with torch.no_grad():  # away from the start, where the gradient would not show the reference
        for parameter in trainer.model.model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    rows = method.batch(trainer.trainer.stream.batch(0), trainer.contexts[1])
    trainer.forwards.run(rows, Divisors.of(rows, trainer.methods))
    ours = {name: p.grad.clone() for name, p in trainer.model.model.named_parameters() if p.grad is not None}
    trainer.model.zero_grad()
    start, losses = tiny.pretrained().model, []
    for chosen, rejected in zip(rows[::2], rows[1::2], strict=True):
        now = [log_likelihood(trainer.model.model, row) for row in (chosen, rejected)]
        with torch.no_grad():
            before = [log_likelihood(start, row) for row in (chosen, rejected)]
        lengths = [len(row.labels) for row in (chosen, rejected)]
        gained = [after - first for after, first in zip(now, before, strict=True)]
        losses.append(
            {
                "Dpo": -F.logsigmoid(0.1 * (gained[0] - gained[1])),
                "Ipo": (gained[0] / lengths[0] - gained[1] / lengths[1] - 5.0) ** 2,
                "Simpo": -F.logsigmoid(2.0 * (now[0] / lengths[0] - now[1] / lengths[1]) - 1.0),
            }[type(method).__name__]
        )
    torch.stack(losses).mean().backward()
    for name, parameter in trainer.model.model.named_parameters():
        # Noise of another order of summation 1e-5 of a gradient near 1; a mean over tokens left out differs by half.
        torch.testing.assert_close(ours[name], parameter.grad, atol=5e-5, rtol=1e-3)


@pytest.mark.parametrize("method", ALL, ids=lambda method: type(method).__name__)
def test_a_short_run_prefers_the_chosen_answers(method: PreferenceMethod, tmp_path: Path) -> None:
    run(tmp_path, method, steps=10).train()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["chosen_above_rejected"] for line in log if "loss" in line][-1] == 1.0
    with pytest.raises(ValueError, match=rf"{type(method).__name__.lower()}: has two equal answers"):
        method.row_parts(Example({}, "yes", rejected="yes"), ())


def test_simpo_copies_no_model(tmp_path: Path) -> None:
    method = Simpo()
    run(tmp_path, method, steps=1).train()
    assert not hasattr(method, "_reference")

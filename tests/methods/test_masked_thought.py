"""Masked Thought: what is predicted stays, the input stays, and as much of the answer is hidden as the schedule says."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from holdfast.methods.base import Context, Method
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.masked_thought import MaskedThought
from holdfast.prefix.packing import label_tensors
from holdfast.training.loop import Training
from tests.training import tiny


def prepared(steps: int = 100, **fields: object) -> tuple[MaskedThought, Context]:
    """The method as a stage of so many steps prepares it."""
    method = MaskedThought(**fields)  # pyright: ignore[reportArgumentType]
    run = tiny.trainer(Path("."), Full())
    context = Context(run.model, run.pretrained, steps=steps)
    method.prepare(context)
    return method, context


def test_labels_weights_and_inputs_are_those_of_plain_training() -> None:
    method, context = prepared(rate=1.0)
    plain = tiny.rows(20)
    rows = method.batch(plain, replace(context, step=99))
    for one, other in zip(label_tensors(rows), label_tensors(plain), strict=True):
        assert torch.equal(one, other)
    for row, before in zip(rows, plain, strict=True):
        first = before.labels[0]
        assert row.tokens[:first] == before.tokens[:first]
        assert row.weights == before.weights
        # At a rate of 1 all of the answer is drawn anew, and never from the special tokens.
        assert min(row.tokens[first:]) >= 3


def test_a_rate_of_zero_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [Full(), MaskedThought(rate=0)])


def test_the_share_that_is_hidden_is_the_rate_of_the_schedule() -> None:
    method, context = prepared(by="pad", rate=0.4, warmup=0.5, steps=100)
    rates = [method.probability(step) for step in range(100)]
    assert rates[0] == 0
    assert all(before <= after for before, after in pairwise(rates))
    assert max(rates) == rates[51] == 0.4
    assert rates[25] == pytest.approx(0.4 * 25 / 51)
    plain = tiny.rows(2000)
    hidden = labels = 0
    for row in method.batch(plain, replace(context, step=99)):
        hidden += row.tokens.count(0)
        labels += len(row.labels)
    # Three standard deviations of the draw.
    assert abs(hidden / labels - 0.4) < 3 * (0.4 * 0.6 / labels) ** 0.5


def test_the_model_predicts_the_true_answer_behind_the_hidden_one() -> None:
    """The loss of one row by transformers alone: hidden tokens in, the answer's own tokens as labels."""
    method, context = prepared(by="pad", rate=1.0)
    row = next(row for row in tiny.rows(20) if len(row.labels) == 3)
    (masked,) = method.batch([row], replace(context, step=99))
    output = context.model([masked])
    with torch.no_grad():
        logits = context.model.model(torch.tensor([masked.tokens])).logits[0]
    expected = torch.stack([logits[label - 1] for label in row.labels])
    # Float32 of another order of sums; logits behind the answer's own tokens are off by 1 and more.
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=1e-4)
    assert output.labels.tolist() == [row.tokens[label] for label in row.labels]


def test_the_padding_token_has_to_exist() -> None:
    run = tiny.trainer(Path("."), Full())
    run.pretrained.tokenizer.pad_token = None
    with pytest.raises(ValueError, match="has no padding token; use random"):
        MaskedThought(by="pad").prepare(Context(run.model, run.pretrained))


@pytest.mark.parametrize("chooser", [Full(), Lora(rank=2)], ids=["full", "lora"])
def test_a_resumed_run_ends_with_the_same_weights(chooser: Method, tmp_path: Path) -> None:
    def run(folder: Path, until: int) -> dict[str, torch.Tensor]:
        trainer = tiny.trainer(folder, chooser, MaskedThought(warmup=0.1))
        if until < trainer.settings.steps:
            # Stopped as Ctrl-C stops it: a shorter stage would have another schedule.
            trainer.settings = replace(trainer.settings, save_every=until)
            training = Training(trainer)
            step = training.step

            def stop(number: int) -> dict[str, object]:
                if number == until:
                    raise KeyboardInterrupt
                return step(number)

            training.step = stop  # pyright: ignore[reportAttributeAccessIssue]
            with pytest.raises(KeyboardInterrupt):
                training.run()
        else:
            trainer.train()
        return tiny.weights(trainer)

    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "parts", 3)
    parts = run(tmp_path / "parts", 6)
    assert all(torch.equal(weight, whole[name]) for name, weight in parts.items())

"""DPO: the closed form, the frozen reference, and the gradient of plain transformers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from holdfast.api.tune import tune
from holdfast.methods.combinations import check_combination
from holdfast.methods.dpo import Dpo, pair_losses
from holdfast.methods.full import Full
from holdfast.methods.replay import Replay
from holdfast.row import Row
from holdfast.tasks.loaders.readers import read_folder
from holdfast.tasks.task import Example
from holdfast.training.batches import share, split
from holdfast.training.loop import Training
from tests.training import tiny


def pairs(count: int = 8) -> list[list[Row]]:
    """A prompt with a chosen and a rejected answer of other lengths, for each of `count` examples."""
    made = []
    for i, row in enumerate(tiny.rows(count, answers=1)):
        prompt = row.tokens[:-1]
        chosen = Row((*prompt, 5 + i % 7, 2), (*(0.0 for _ in prompt), 1.0, 1.0), name=f"{row.name}")
        rejected = Row((*prompt, 20 + i % 5, 21, 2), (*(0.0 for _ in prompt), 1.0, 1.0, 1.0), name=f"{row.name}")
        made.append([chosen, rejected])
    return made


def run(folder: Path, *methods: object, **settings: object):
    """A trainer whose examples are pairs."""
    trainer = tiny.trainer(folder, Full(), Dpo(), *methods, **settings)  # pyright: ignore[reportArgumentType]
    made = pairs()
    trainer.stream = replace(trainer.stream, row=lambda index, epoch: made[index])  # pyright: ignore[reportArgumentType]
    return trainer


def log_likelihood(model: torch.nn.Module, row: Row) -> torch.Tensor:
    """Sum over a row's labels, by transformers alone."""
    logits = model(torch.tensor([row.tokens])).logits[0, :-1]
    values = F.log_softmax(logits, -1)[range(len(row.tokens) - 1), row.tokens[1:]]
    return (values * torch.tensor(row.weights[1:])).sum()


def test_the_loss_of_pairs_is_the_papers_formula() -> None:
    gained = torch.tensor([[1.0, -1.0], [0.0, 3.0]])
    expected = [-math.log(1 / (1 + math.exp(-0.5 * 2))), -math.log(1 / (1 + math.exp(0.5 * 3)))]
    assert pair_losses(gained, 0.5).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_first_loss_is_the_logarithm_of_two_and_then_falls(tmp_path: Path) -> None:
    run(tmp_path, steps=12).train()
    losses = tiny.losses(tmp_path)
    # Noise of float32 sums; a rejected answer counted twice, or another reference, is off by more than 0.01.
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses[-1] < 0.5


def test_gradients_equal_plain_computation_however_the_step_is_split(tmp_path: Path) -> None:
    for number, budget in enumerate((4096, 20)):
        trainer = run(tmp_path / str(number), batch_size=8, token_budget=budget, steps=1)
        training = Training(trainer)
        training.forwards.budget = budget
        with torch.no_grad():  # away from the start, where the gradient would not show the reference
            for parameter in trainer.model.model.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        rows = trainer.stream.batch(0)
        method = next(m for m in trainer.methods if isinstance(m, Dpo))
        from holdfast.training.loss import Divisors

        training.forwards.run(rows, Divisors.of(rows, trainer.methods))
        found = {name: p.grad.clone() for name, p in trainer.model.model.named_parameters() if p.grad is not None}
        trainer.model.zero_grad()
        losses = []
        for chosen, rejected in zip(rows[::2], rows[1::2], strict=True):
            with torch.no_grad():
                start = log_likelihood(method._reference, chosen) - log_likelihood(method._reference, rejected)
            now = log_likelihood(trainer.model.model, chosen) - log_likelihood(trainer.model.model, rejected)
            losses.append(-F.logsigmoid(0.1 * (now - start)))
        torch.stack(losses).mean().backward()
        for name, parameter in trainer.model.model.named_parameters():
            # Noise of another order of summation 1e-6; the chosen answer's gradient alone differs by more than 0.1.
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-4)


def test_pairs_stay_whole_in_processes_and_in_forwards(tmp_path: Path) -> None:
    rows = run(tmp_path, batch_size=8).stream.batch(0)
    assert [row.group for row in rows] == [number for number in range(8) for _ in "ab"]
    for part in (*(share(rows, rank, 3) for rank in range(3)), *split(rows, 25)):
        assert [row.group for row in part[::2]] == [row.group for row in part[1::2]]


def test_both_answers_share_their_prompt_in_one_packed_row(tmp_path: Path) -> None:
    from holdfast.prefix.packing import pack

    chosen, rejected = pairs(1)[0]
    packed = pack([chosen, rejected], [])
    prompt = len(chosen.tokens) - 2
    # The prompt once, and of each answer all but its last token, which only is predicted.
    assert packed.tokens.numel() == prompt + 1 + 2


def test_examples_without_a_second_answer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dpo: has no `rejected` answer .*give every line of train.jsonl"):
        Dpo().row_parts(Example({"input": "x"}, "yes"), ())
    with pytest.raises(ValueError, match="dpo: has two equal answers"):
        Dpo().row_parts(Example({"input": "x"}, "yes", rejected=" yes"), ())


def test_pairs_of_equal_answers_are_named_before_anything_is_loaded(tmp_path: Path) -> None:
    """Two of four, one of them behind others: in training it would come to light in the step that draws it."""
    rows = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "yes" if i % 3 == 0 else "no"} for i in range(4)]
    for part in ("train", "validation", "test"):
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = (
        f"^{tmp_path.name}/train\\[0\\]: dpo: has two equal answers .*\n{tmp_path.name}/train\\[3\\]: dpo: has two"
    )
    with pytest.raises(ValueError, match=refused):
        tune("lab", tmp_path, "full+dpo", general="none", shots=[0], out=tmp_path / "run")
    assert not (tmp_path / "run" / "stages").exists()


def test_a_folder_of_preference_pairs_is_a_task(tmp_path: Path) -> None:
    lines = [{"prompt": f"q{i}?", "chosen": "good", "rejected": f"bad {i}"} for i in range(4)]
    for split_name in ("train", "validation", "test"):
        (tmp_path / f"{split_name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = read_folder(tmp_path)
    first = task.splits["train"][0]
    assert (first.target, first.rejected) == ("good", "bad 0")
    assert [parts.answer for parts in Dpo().row_parts(first, ())] == ["good", "bad 0"]


def test_rows_of_another_method_that_are_no_pairs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is trained; and by the rows, where a method does not say that it adds some."""
    texts = tmp_path / "general.txt"
    texts.write_text("w3 w4 w5\n")
    with pytest.raises(ValueError, match="dpo makes no sense beside replay: its rows are pairs"):
        check_combination([Full(), Dpo(), Replay()])
    monkeypatch.setattr(Replay, "adds_rows", False)
    with pytest.raises(ValueError, match=r"dpo: .*general.txt:1 is no pair of answers; leave out the method"):
        run(tmp_path / "run", Replay(texts=str(texts))).train()

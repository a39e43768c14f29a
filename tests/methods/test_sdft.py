"""SDFT: the model's own answers, the teacher that reads the right one, and the forward KL between the two."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from holdfast.api.tune import tune
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.methods.base import Method
from holdfast.methods.combinations import check_combination
from holdfast.methods.dpo import Dpo
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.masked_thought import MaskedThought
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.methods.replay import Replay
from holdfast.methods.sdft import Sdft
from holdfast.methods.token_weights import TokenWeights
from holdfast.row import Row
from holdfast.training.loop import Trainer, Training
from tests.recipes.worlds import write_world
from tests.training import tiny


def pairs(count: int = 8) -> list[list[Row]]:
    """Each row, and the same question behind the row itself."""
    made = []
    for row in tiny.rows(count):
        row = replace(row, tokens=(*row.tokens[:-1], 2))
        behind = (*row.tokens[:-1], *row.tokens)
        made.append([row, replace(row, tokens=behind, weights=(*[0.0] * (len(row.tokens) - 1), *row.weights))])
    return made


def run(folder: Path, *methods: Method, shown: bool = True, **settings: Any) -> Trainer:
    """A trainer whose examples come with their second reading, or twice as they are."""
    trainer = tiny.trainer(folder, *methods, **settings)
    made = pairs()

    def rows(index: int, epoch: int) -> list[Row]:
        prompt = len(trainer.model.prompts) - 1 if len(trainer.model.prompts) else None
        plain, behind = made[index]
        return [replace(row, prompt=prompt) for row in (plain, behind if shown else plain)]

    trainer.stream = replace(trainer.stream, row=rows)  # pyright: ignore[reportArgumentType]
    return trainer


def log_p(model: torch.nn.Module, row: Row) -> torch.Tensor:
    """Log-probabilities over the vocabulary at a row's labels, by transformers alone."""
    with torch.no_grad():
        logits = model(torch.tensor([row.tokens])).logits[0]
    return F.log_softmax(logits[[label - 1 for label in row.labels]], -1)


def test_the_answers_are_the_models_own_and_the_teacher_reads_them_behind_the_example(tmp_path: Path) -> None:
    method = Sdft(max_new_tokens=5, temperature=0)
    trainer = run(tmp_path, Full(), method)
    drawn = trainer.stream.batch(0)
    rows = method.batch(drawn, Training(trainer).contexts[1])
    assert len(rows) == 4
    model = Model(trainer.pretrained)
    for row, (plain, shown) in zip(rows, zip(drawn[::2], drawn[1::2], strict=True), strict=True):
        question, behind = plain.tokens[: plain.labels[0]], shown.tokens[: shown.labels[0]]
        (answer,) = model.continue_tokens([question], Sampling(5))
        ended = [*answer, 2] if len(answer) < 5 else answer
        assert row.tokens == (*question, *ended)
        assert row.labels == list(range(len(question), len(row.tokens)))
        assert method._read[row.group].tokens == (*behind, *ended)
        assert sum(row.weights) == pytest.approx(1.0)


def test_the_loss_is_the_forward_divergence_by_transformers_alone_and_by_trl(tmp_path: Path) -> None:
    """The mean over an answer's tokens, then over answers. The reverse KL is off by more than 5 %."""
    method = Sdft(max_new_tokens=5)
    trainer = run(tmp_path, Full(), method, steps=1, batch_size=8)
    with torch.no_grad():  # Another model than the teacher, which is copied before.
        contexts = Training(trainer).contexts
        for weight in trainer.model.parameters():
            weight.mul_(1.2)
    rows = method.batch(trainer.stream.batch(0), contexts[1])
    found = method.objective(trainer.model(rows), rows) / method.units(rows)
    teacher, student = tiny.pretrained().model, trainer.model.model
    values, theirs = [], []
    for row in rows:
        ours, base = log_p(student, row), log_p(teacher, method._read[row.group])
        values.append((base.exp() * (base - ours)).sum(-1).mean())
        theirs.append((ours, base))
    # Float32 in another order of sums.
    assert float(found.detach()) == pytest.approx(float(torch.stack(values).mean()), rel=1e-4)
    losses = pytest.importorskip("trl.experimental.sdft.loss_utils", reason="trl is not installed")
    each = [losses.compute_full_logit_self_distillation_loss(*pair, distillation_alpha=0.0).mean() for pair in theirs]
    assert float(found.detach()) == pytest.approx(float(torch.stack(each).mean()), rel=1e-4)


def test_a_teacher_that_reads_nothing_more_teaches_nothing(tmp_path: Path) -> None:
    trainer = run(tmp_path, Full(), Sdft(max_new_tokens=4), shown=False, steps=1)
    trainer.train()
    # Rounding of float32; behind the example it is 0.5 and more.
    assert abs(tiny.losses(tmp_path)[0]) < 1e-5


def test_the_teacher_stays_as_it_was(tmp_path: Path) -> None:
    method = Sdft(max_new_tokens=4)
    trainer = run(tmp_path, Full(), method)
    start = tiny.weights(trainer)
    trainer.train()
    assert all(torch.equal(weight, start[name]) for name, weight in method._teacher.named_parameters())
    assert any(not torch.equal(weight, start[name]) for name, weight in tiny.weights(trainer).items())


@pytest.mark.parametrize("chooser", [Full(), Lora(rank=2), PromptTuning(length=3)], ids=["full", "lora", "prompt"])
def test_a_resumed_run_ends_with_the_same_weights(chooser: Method, tmp_path: Path) -> None:
    method = Sdft(max_new_tokens=4)
    assert tiny.resumes(lambda folder, **settings: run(folder, chooser, method, **settings), tmp_path)


@pytest.mark.parametrize("other", [Dpo(), Replay(), TokenWeights(), MaskedThought()], ids=lambda m: type(m).__name__)
def test_beside_what_makes_no_sense_it_is_refused(other: Method) -> None:
    with pytest.raises(ValueError, match=r"each replace the loss|makes no sense beside"):
        check_combination([Full(), Sdft(), other])


def test_a_run_shows_the_teacher_each_example_with_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a task to the trained model: the second reading is the question behind the same question, answered."""
    seen: list[list[Row]] = []
    inner = Sdft.batch

    def watched(self: Sdft, rows: list[Row], context: Any) -> list[Row]:
        seen.append(rows)
        return inner(self, rows, context)

    monkeypatch.setattr(Sdft, "batch", watched)
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    settings: dict[str, Any] = {"model.steps": 2, "model.batch_size": 4, "model.max_new_tokens": 4}
    tune(world / "model", world / "pick", "full+sdft", limit=4, out=tmp_path / "run", **settings)
    plain, shown = seen[-1][:2]
    question, answer = plain.tokens[: plain.labels[0]], plain.tokens[plain.labels[0] : -1]
    start = [i for i in range(len(shown.tokens)) if shown.tokens[i : i + len(answer)] == answer]
    assert shown.group == plain.group
    assert shown.tokens[shown.labels[0] :] == plain.tokens[plain.labels[0] :]
    assert len(shown.tokens) >= len(plain.tokens) + len(question) - 1
    assert start[0] < shown.labels[0]

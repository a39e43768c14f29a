"""Self-replay: texts of the model's own, held by a KL that only they enter, once a step however it is split."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from holdfast.methods._divergence import divergence
from holdfast.methods.base import Context, Method
from holdfast.methods.dpo import Dpo
from holdfast.methods.full import Full
from holdfast.methods.kl_base import KlBase
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.methods.replay import Replay
from holdfast.methods.self_replay import SelfReplay
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row, total_weight
from holdfast.training.batches import Stream, through_methods
from holdfast.training.loop import Training
from holdfast.training.loss import Divisors
from tests.encoder_decoder import pretrained
from tests.training import tiny

CHAT = (
    "{% for m in messages %}{{ 'w3 w4 ' + m['content'] + ' w5 ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'w3 w4 ' }}{% endif %}"
)


def method(coefficient: float = 3.0, **fields: float) -> SelfReplay:
    """Small enough for a test; the defaults are for real models."""
    return SelfReplay(**{"coefficient": coefficient, "self_texts": 12, "self_length": 10, "self_batch": 3} | fields)  # pyright: ignore[reportArgumentType]


def set_up(folder: Path, *methods: Method) -> Training:
    return Training(tiny.trainer(folder, *methods))


def batch(run: Training, *numbers: int) -> list[Row]:
    """The task's rows with those that methods add: all, or the ones with these numbers."""
    chosen = numbers or range(len(run.methods))
    return through_methods(tiny.rows(4), [run.methods[i] for i in chosen], [run.contexts[i] for i in chosen])


def test_texts_come_from_the_starting_model_by_the_seed_alone(tmp_path: Path) -> None:
    """The random model gives text of its own likelihood: drawn from the uniform distribution a token costs 3.7 nats and more."""
    same, again, other = (
        set_up(tmp_path / f"{i}", Full(), method(seed=seed, self_texts=60)) for i, seed in enumerate((0, 0, 1))
    )
    texts = []
    for run in (same, again, other):
        batch(run)
        texts.append(run.methods[1].state_dict()["texts"])
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) > 30
    model = same.contexts[1].language_model()
    nats = -sum(model.rolling(texts[0])) / sum(model.count_tokens(texts[0]))
    assert nats < 3.5


def test_parts_of_a_sampling_change_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = set_up(tmp_path / "whole", Full(), method())
    batch(whole)
    monkeypatch.setattr("holdfast.methods._written_texts.AT_ONCE", 50)
    parts = set_up(tmp_path / "parts", Full(), method())
    batch(parts)
    assert parts.methods[1].state_dict() == whole.methods[1].state_dict()


def test_a_chat_model_writes_questions_and_answers_too(tmp_path: Path) -> None:
    run = tiny.trainer(tmp_path, Full(), method())
    run.pretrained.tokenizer.chat_template = CHAT
    training = Training(run)
    batch(training)
    texts = run.methods[1].state_dict()["texts"]
    assert sum(text.startswith("w3 w4 ") for text in texts) >= 6
    # The question's turn is closed, and an answer's begun behind it.
    assert all(" w5 w3 w4 " in text for text in texts[6:])


def test_added_rows_enter_no_loss_but_its_own(tmp_path: Path) -> None:
    run = set_up(tmp_path, Full(), method())
    rows = batch(run)
    added = rows[4:]
    assert {row.added_by for row in added} == {1}
    assert all(row.prompt is None and row.weights[0] == 0 for row in added)
    assert total_weight(added) == pytest.approx(1.0)
    assert Divisors.of(rows, run.methods) == Divisors.of(rows[:4], run.methods)
    # Before the first step model and base are equal: what is left is the plain loss. A token loss of the texts would be 3 more.
    divisors = Divisors.of(rows, run.methods)
    with torch.no_grad():
        plain, both = (float(run.loss(run.model.eval(), part, divisors)) for part in (rows[:4], rows))
    assert both == pytest.approx(plain, rel=1e-5)


def moved(run: Training) -> None:
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.mul_(1.3)


def gradients(run: Training, parts: list[list[Row]], rows: list[Row]) -> tuple[float, list[Tensor]]:
    run.model.zero_grad(set_to_none=True)
    divisors, total = Divisors.of(rows, run.methods), 0.0
    for part in parts:
        loss = run.loss(run.model, part, divisors)
        loss.backward()
        total += float(loss.detach())
    return total, [p.grad.clone() for p in run.model.parameters() if p.grad is not None]


def test_it_is_the_mean_divergence_of_the_texts_and_counts_once_however_a_step_is_split(tmp_path: Path) -> None:
    run = set_up(tmp_path, Full(), method(2.0), KlBase(strength=0.5))
    rows = batch(run)
    moved(run)
    run.model.eval()
    with torch.no_grad():
        task, texts = (tiny.trainer(tmp_path / "base").model(part) for part in (rows[:4], rows[4:]))
        seen = [run.model(part) for part in (rows[:4], rows[4:])]
        kl = [
            float(divergence(s.logits, s.labels, s.weights, b.logits)) for s, b in zip(seen, (task, texts), strict=True)
        ]
        plain = float(torch.nn.functional.cross_entropy(seen[0].logits, seen[0].labels))
    expected = plain + 2.0 * kl[1] + 0.5 * kl[0] / total_weight(rows[:4])
    whole, grads = gradients(run, [rows], rows)
    # 1e-4: other order of sums. The penalty on the texts too, or their KL counted by its share of a forward, is off by more than 5 %.
    assert whole == pytest.approx(expected, rel=1e-4)
    assert min(kl) > 0.05
    for parts in ([rows[:4], rows[4:]], [rows[:2], [rows[2], rows[3], rows[4]], rows[5:]]):
        total, other = gradients(run, parts, rows)
        assert total == pytest.approx(whole, rel=1e-4)
        for one, two in zip(grads, other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_replay_beside_it_has_its_share_of_the_tasks_loss(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("w3 w4 w5 w6\n")
    run = set_up(tmp_path, Full(), method(), Replay(texts=str(tmp_path / "texts.txt"), rate=0.5))
    rows = batch(run, 2)
    both = through_methods(tiny.rows(4), run.methods, run.contexts)
    assert [row for row in both if row.added_by is None] == rows[:4] + both[7:]
    assert total_weight(both[7:]) == pytest.approx(total_weight(rows[:4]))


def test_coefficient_zero_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [Full(), method(0.0)])


def test_the_model_stays_nearer_its_start_on_texts_it_never_saw(tmp_path: Path) -> None:
    far = []
    for coefficient in (0.0, 10.0):
        run = tiny.trainer(
            tmp_path / f"{coefficient}", Full(), method(coefficient, self_texts=40), steps=12, save_every=12
        )
        run.train()
        start = tiny.trainer(run.folder / "start")
        held_out = set_up(tmp_path / f"other{coefficient}", Full(), method(seed=7))
        rows = batch(held_out)[4:]
        with torch.no_grad():
            before, after = start.model(rows), run.model(rows)
        far.append(float(divergence(after.logits, after.labels, after.weights, before.logits)))
    # 0.2 of the plain run's here; without gradient it would be all of it.
    assert far[1] < 0.5 * far[0]


@pytest.mark.parametrize("first", [Lora(rank=2), PromptTuning(length=3)], ids=["lora", "prompt"])
def test_it_runs_beside_other_methods(tmp_path: Path, first: Lora | PromptTuning) -> None:
    tiny.trainer(tmp_path, first, method(), steps=3).train()


def test_it_runs_beside_a_method_that_replaces_the_loss(tmp_path: Path) -> None:
    run = tiny.trainer(tmp_path, Full(), Dpo(), method(), steps=2)
    pairs = [[row, replace(row, tokens=(*row.tokens[:-1], 7))] for row in tiny.rows()]
    run.stream = Stream(lambda index, epoch: pairs[index], 8, 4)
    run.train()


def test_a_resumed_run_has_the_same_texts_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny.trainer(tmp_path / "whole", Full(), method())
    whole.train()
    tiny.trainer(tmp_path / "half", Full(), method(), steps=3).train()

    def again(*settings: object) -> list[str]:
        raise AssertionError("a resumed run samples nothing")

    monkeypatch.setattr("holdfast.methods.self_replay.written", again)
    resumed = tiny.trainer(tmp_path / "half", Full(), method())
    resumed.train()
    expected = tiny.weights(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in tiny.weights(resumed).items())


def test_the_texts_that_the_budget_was_measured_with_are_kept(tmp_path: Path) -> None:
    run = set_up(tmp_path, Full(), method())
    run.kept_per_token(tiny.rows(8))
    assert len(run.methods[1].state_dict()["texts"]) == 12


def test_a_model_with_an_encoder_is_refused() -> None:
    model = pretrained("t5")
    with pytest.raises(ValueError, match=r"self_replay: a model with an encoder.*use kl_base"):
        method().prepare(Context(PrefixModel(model.model), model))

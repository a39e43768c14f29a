"""Token weights: the factors by hand, the loss that follows by transformers alone, and what they must leave alone."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from holdfast.methods import token_weights
from holdfast.methods._token_factors import best_entropy, key_factors, names_of, normalised
from holdfast.methods.base import Context, Method
from holdfast.methods.combinations import check_combination
from holdfast.methods.dpo import Dpo
from holdfast.methods.full import Full
from holdfast.methods.kl_base import KlBase
from holdfast.methods.lora import Lora
from holdfast.methods.masked_thought import MaskedThought
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.methods.replay import Replay
from holdfast.methods.token_weights import TokenWeights
from holdfast.prefix import head
from holdfast.row import Row
from holdfast.tasks.text.rendered import Rendered
from holdfast.tasks.text.tokenization import encode
from holdfast.training.loop import Training
from tests.tasks.text.test_tokenization import BYTE_LEVEL, SENTENCEPIECE
from tests.training import tiny

RULES = ("stm", "flow", "prift", "dft", "eaft", "talr", "keys")


def made(by: str, **fields: Any) -> TokenWeights:
    """The method; with a threshold that a random model's labels pass now and then, and words of which one answer has some."""
    fields = {"threshold": 40.0, "candidates": "w11 w9, w11 w5"} | fields
    return TokenWeights(by=by, **fields)  # pyright: ignore[reportArgumentType]


def log_p(model: torch.nn.Module, row: Row) -> torch.Tensor:
    """Log-probabilities of a row's labels, by transformers alone."""
    with torch.no_grad():
        logits = model(torch.tensor([row.tokens])).logits[0, :-1]
    return F.log_softmax(logits, -1)[[label - 1 for label in row.labels], [row.tokens[label] for label in row.labels]]


def factors(by: str, rows: list[Row], **fields: Any) -> list[torch.Tensor]:
    """The factors of all labels in the first step over these rows, which are the sample too."""
    run = tiny.trainer(Path("."), Full())
    method, context = made(by, **fields), Context(run.model, run.pretrained, rows)
    method.prepare(context)
    weighed = method.batch(rows, context)
    output = run.model(weighed)
    moving = method.token_factors(output, weighed)
    if moving is not None:
        return list(moving.split([len(row.labels) for row in weighed]))
    return [torch.tensor([row.factors[label] for label in row.labels]) for row in weighed]


def expected(by: str, scores: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same by the formulas, of log-probabilities."""
    median = torch.stack([-score.mean() for score in scores]).median()
    if by == "stm":
        kept = [(score.neg().exp() <= 40).float() for score in scores]
        return [mask * (sum(map(len, scores)) / float(torch.cat(kept).sum())) for mask in kept]
    if by == "flow":
        return [(score.mean() / median).exp().expand(len(score)) for score in scores]
    if by == "talr":
        return [(score / median).exp().clamp(min=0.01) for score in scores]
    return [score.exp() for score in scores]


@pytest.mark.parametrize("by", ["stm", "flow", "prift", "dft", "talr"])
def test_the_factors_are_the_formula_of_the_labels_probabilities(by: str) -> None:
    rows = tiny.rows(12)
    model = tiny.pretrained().model
    # Float32 in another order of sums; the formulas differ from each other by more than 1e-2.
    for found, by_hand in zip(factors(by, rows), expected(by, [log_p(model, row) for row in rows]), strict=True):
        torch.testing.assert_close(found, by_hand, rtol=1e-4, atol=1e-6)


def test_the_entropy_of_the_likeliest_by_hand() -> None:
    """20 equal tokens: ln 20 / 3; two of them far ahead of all others: ln 2 / 3; one alone: 0."""
    logits = torch.zeros(3, 30)
    logits[1, :2], logits[2, 0] = 50.0, 50.0
    wanted = [math.log(20) / 3, math.log(2) / 3, 0.0]
    assert best_entropy(logits, torch.zeros(3)).tolist() == pytest.approx(wanted, abs=1e-6)


def test_key_tokens_are_those_that_tell_names_apart() -> None:
    names = [(5, 6, 7), (5, 8), (9,), (5, 6, 7, 3)]
    answer = (5, 6, 7, 20, 21, 22, 23, 24, 25)
    row = Row((1, *answer), (0.0, *[1.0] * 9))
    # Keys: 5 begins it, 6 tells it from (5, 8), and what follows 7 from (5, 6, 7, 3): six others over three keys.
    assert key_factors(row, names).tolist() == [2.0, 2.0, 1.0, 2.0, *[1.0] * 5]
    # One key among 30: 9 is the most. No name in the answer, or keys as many as others: plain.
    assert key_factors(Row((1, 9, *[20] * 29), (0.0, *[1.0] * 30)), names)[0] == 9.0
    assert key_factors(Row((1, 30, 31), (0.0, 1.0, 1.0)), names).tolist() == [1.0, 1.0]
    assert key_factors(Row((1, 5, 8), (0.0, 1.0, 1.0)), names).tolist() == [1.0, 1.0]


def test_every_answer_of_a_conversation_has_its_keys() -> None:
    # Two calls with a turn between them that is read and not trained: three keys (each name's first, and what tells it apart) of ten.
    row = Row((1, 5, 6, 20, 20, 20, 2, 5, 8, 20, 20, 20), (0.0, *[1.0] * 5, 0.0, *[1.0] * 5))
    assert key_factors(row, [(5, 6), (5, 8)]).tolist() == [1.5, 1.5, 1.0, 1.0, 1.0, 1.5, 1.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", [*BYTE_LEVEL, *SENTENCEPIECE])
@pytest.mark.parametrize("text", ['{"name": "find_bus"}', "find_bus", "call find_bus", "find_bus(to=Ulm)"])
def test_a_name_is_recognised_whatever_stands_before_it(kind: str, text: str) -> None:
    """Sentencepiece puts a space before the first word of a text, so that a name alone has another first token than one behind a quote."""
    tokenizer = {**BYTE_LEVEL, **SENTENCEPIECE}[kind]
    row = encode(
        tokenizer, Rendered("which?", f" {text}, or what else, and who is there"), eos=False, prompt=0, max_length=400
    )
    names = names_of("find_bus,find_train", Context(None, SimpleNamespace(tokenizer=tokenizer), [row]))  # pyright: ignore
    assert key_factors(row, names).max() > 1


def test_candidates_that_no_answer_holds_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"candidates=w39 w1: no answer of the first 12 examples holds one of these names"
    ):
        factors("keys", tiny.rows(12), candidates="w39 w1")


def test_normalised_factors_leave_a_constant_loss_as_it_is() -> None:
    rows = [Row((1, 5, 6), (0.0, 1.0, 2.0)), Row((1, 7), (0.0, 3.0))]
    scaled = normalised([torch.tensor([4.0, 0.0]), torch.tensor([2.0])], rows)
    total = sum(float(torch.dot(f, torch.tensor(w))) for f, w in zip(scaled, ([1.0, 2.0], [3.0]), strict=True))
    assert total == pytest.approx(6.0)
    assert normalised([torch.zeros(2), torch.zeros(1)], rows)[0].tolist() == [0.0, 0.0]


def test_keys_without_names_are_the_answers_of_a_closed_set_or_refused() -> None:
    closed = [Row((1, 9 + i, 5 + i % 2), (0.0, 0.0, 1.0)) for i in range(20)]
    assert factors("keys", closed, candidates="")[0].tolist() == [1.0]
    open_ended = [Row((1, i % 40, i // 40, 3), (0.0, 1.0, 1.0, 1.0)) for i in range(80)]
    with pytest.raises(ValueError, match=r"80 answers.*model\.candidates"):
        factors("keys", open_ended, candidates="")


@pytest.mark.parametrize("by", RULES)
def test_a_power_of_zero_is_the_plain_run_bit_by_bit(by: str, tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [Full(), made(by, power=0)], steps=2)


@pytest.mark.parametrize("at_once", [None, 2], ids=["whole", "in-parts"])
@pytest.mark.parametrize("by", ["dft", "prift"])
def test_the_loss_is_the_sum_of_weighed_losses_over_the_number_of_labels(
    by: str, at_once: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DFT: sum of -p log p over all labels, by their number. Beside it, the KL holds every label alike: that is ASFT."""
    if at_once:
        monkeypatch.setattr(head, "LOGITS", at_once * tiny.VOCABULARY)
    run = tiny.trainer(tmp_path, Full(), made(by), KlBase(strength=1.0), steps=1, batch_size=8)
    run.train()
    scores = torch.cat([log_p(tiny.pretrained().model, row) for row in tiny.rows()])
    # Float32; plain training is 50 times as much, and a division by the sum of the factors 30 times.
    assert tiny.losses(tmp_path)[0] == pytest.approx(float(-(scores.exp() * scores).mean()), rel=1e-4)


def test_the_gradient_does_not_go_through_the_factors() -> None:
    """d/dlogits of sum(p0 * -log p) with p0 held: p0 * (softmax - onehot)."""
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([1, 2, 3, 4])
    output = head.LabelLogits(logits, labels, torch.ones(4), torch.arange(4))
    rows = [Row((1, 2), (0.0, 1.0), factors=(1.0, 1.0)) for _ in range(4)]
    weights = TokenWeights(by="dft").token_factors(output, rows)
    assert weights is not None
    assert not weights.requires_grad
    torch.dot(F.cross_entropy(logits, labels, reduction="none"), weights).backward()
    p = logits.detach().softmax(-1)
    torch.testing.assert_close(logits.grad, weights[:, None] * (p - F.one_hot(labels, 7)))


def test_it_is_the_dft_loss_of_trl(tmp_path: Path) -> None:
    """Ragged samples, by TRL's own trainer: value and gradient."""
    pytest.importorskip("trl", reason="trl is not installed")
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    rows = tiny.rows(4)
    loaded = tiny.pretrained()
    data = {
        "input_ids": [list(row.tokens) for row in rows],
        "completion_mask": [[int(w > 0) for w in row.weights] for row in rows],
    }
    settings = SFTConfig(
        output_dir=str(tmp_path), loss_type="dft", completion_only_loss=True, use_cpu=True, report_to="none",
        per_device_train_batch_size=4, bf16=False, activation_checkpointing=False,
    )  # fmt: skip
    trainer = SFTTrainer(
        loaded.model, settings, train_dataset=Dataset.from_dict(data), processing_class=loaded.tokenizer
    )
    batch = next(iter(trainer.get_train_dataloader()))
    loss: Any = trainer.compute_loss(loaded.model, batch)
    loss.backward()
    theirs = {name: weight.grad.clone() for name, weight in loaded.model.named_parameters() if weight.grad is not None}

    run = Training(tiny.trainer(tmp_path / "ours", Full(), TokenWeights(by="dft"), data=rows))
    from holdfast.training.loss import Divisors

    weighed = run.methods[1].batch(rows, run.contexts[1])
    ours = run.loss(run.model, weighed, Divisors.of(weighed, run.methods))
    ours.backward()
    assert float(ours.detach()) == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, weight in run.model.model.named_parameters():
        torch.testing.assert_close(weight.grad, theirs[name], rtol=1e-3, atol=1e-6)


def test_replayed_rows_keep_their_weight_whatever_the_order(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("w3 w4 w5 w6\n")
    seen: list[list[tuple[float, ...]]] = []
    for methods in ([Replay(texts=str(texts)), made("talr")], [made("talr"), Replay(texts=str(texts))]):
        run = Training(tiny.trainer(tmp_path / str(len(seen)), Full(), *methods, steps=1))
        forwards = run.forwards.run

        def watched(rows: list[Row], divisors: Any, inner: Any = forwards) -> torch.Tensor:
            seen.append([row.factors for row in rows])
            return inner(rows, divisors)

        run.forwards.run = watched  # pyright: ignore[reportAttributeAccessIssue]
        run.run()
    assert seen[0] == seen[1]
    assert [bool(each) for each in seen[0]] == [True] * 4 + [False]


def test_each_row_passes_the_frozen_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where parts of the answer are hidden anew in every step."""
    count = 0
    inner = token_weights.log_probabilities

    def counted(model: Any, rows: list[Row]) -> list[torch.Tensor]:
        nonlocal count
        count += len(rows)
        return inner(model, rows)

    monkeypatch.setattr(token_weights, "log_probabilities", counted)
    run = tiny.trainer(tmp_path, Full(), MaskedThought(rate=1.0, warmup=0.0), made("prift"), steps=6, token_budget=4096)
    run.train()
    assert count == len(tiny.rows())


@pytest.mark.parametrize("by", RULES)
@pytest.mark.parametrize("chooser", [Full(), Lora(rank=2), PromptTuning(length=3)], ids=["full", "lora", "prompt"])
def test_a_resumed_run_ends_with_the_same_weights(by: str, chooser: Method, tmp_path: Path) -> None:
    assert tiny.resumes(lambda folder, **settings: tiny.trainer(folder, chooser, made(by), **settings), tmp_path)


def test_a_threshold_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"threshold=1.01.*nothing to learn.*promot\+token_weights"):
        factors("stm", tiny.rows(), threshold=1.01)


def test_beside_a_loss_of_its_own_it_is_refused() -> None:
    with pytest.raises(ValueError, match="token_weights makes no sense beside dpo: it weighs the token loss"):
        check_combination([Full(), TokenWeights(), Dpo()])

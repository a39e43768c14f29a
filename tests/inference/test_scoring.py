"""Log-likelihoods of rows against each row alone, and what must not change them."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.inference import prefix_scoring, scoring
from holdfast.inference.scoring import LogLikelihood, score
from holdfast.row import Row
from tests.inference import small_models
from tests.inference.small_models import sequences

# float32 sums of at most 20 log-probabilities of the order of 5: two right ways differ by 1e-5; one wrong label, position
# or mask by more than 0.1.
NOISE = 5e-5


def asked(soft: bool = True) -> list[Row]:
    """Questions behind shared demonstrations, with choices of one to three tokens; single rows of other kinds."""
    rows = []
    for number, question in enumerate(sequences([24, 27, 25, 24, 30], common=20)):
        for choice in sequences([1, 1, 2, 3], seed=100 + number):
            rows.append(Row(question + choice, (0.0,) * len(question) + (1.0,) * len(choice), 0))
    rows += [Row(tokens, (0.0, *[1.0] * (len(tokens) - 1)), 0) for tokens in sequences([2, 9, 14], seed=7)]
    rows += [Row(tokens, (*[0.0] * 5, 0.5, 0.0, 2.0, 0.0), 0) for tokens in sequences([9], seed=8)]
    return rows if soft else [Row(row.tokens, row.weights) for row in rows]


def alone(model: Any, row: Row, prompt: Tensor | None) -> LogLikelihood:
    """One row, one plain forward, every log-probability of the vocabulary."""
    words = model.get_input_embeddings()(torch.tensor([row.tokens]))
    embeds = words if prompt is None else torch.cat([prompt[None], words], 1)
    soft = embeds.shape[1] - words.shape[1]
    if model.config.is_encoder_decoder:
        first = row.labels[0]
        decoder = torch.tensor([[model.config.decoder_start_token_id, *row.tokens[first:-1]]])
        logits = model(inputs_embeds=embeds[:, : soft + first], decoder_input_ids=decoder).logits[0]
        logits = torch.cat([logits.new_zeros(first, logits.shape[1]), logits])
    else:
        logits = model(inputs_embeds=embeds).logits[0].roll(1, 0)[soft:]
    logprobs = logits.log_softmax(-1)
    value = sum(float(logprobs[place, row.tokens[place]]) for place in row.labels)
    greedy = all(int(logits[place].argmax()) == row.tokens[place] for place in row.labels)
    return LogLikelihood(value, greedy, len(row.labels))


def assert_same(found: list[LogLikelihood], expected: list[LogLikelihood]) -> None:
    assert [(one.greedy, one.tokens) for one in found] == [(one.greedy, one.tokens) for one in expected]
    assert [one.value for one in found] == pytest.approx([one.value for one in expected], abs=NOISE, rel=0)


@pytest.mark.parametrize("soft", [0, 7])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "mamba", "t5"])
def test_values_equal_each_row_alone(kind: str, soft: int) -> None:
    model = small_models.gemma3(64) if kind == "gemma3" else getattr(small_models, kind)()
    prompt = small_models.prompt(soft, model) if soft else None
    rows = asked(bool(soft))
    found = score(model, rows, [prompt] if prompt is not None else [])
    assert_same(found, [alone(model, row, prompt) for row in rows])
    assert max(abs(one.value) for one in found) > 10


def test_a_continuation_is_greedy_exactly_if_generation_writes_it() -> None:
    model = small_models.llama()
    start = sequences([12])[0]
    new = model.generate(torch.tensor([start]), do_sample=False, max_new_tokens=3, pad_token_id=0)[
        0, len(start) :
    ].tolist()
    other = [*new[:2], (new[2] + 1) % 200]
    rows = [Row((*start, *tokens), (*[0.0] * 12, *[1.0] * len(tokens))) for tokens in (new, new[:1], other, new[1:])]
    assert [one.greedy for one in score(model, rows)] == [True, True, False, False]


@pytest.mark.parametrize("batch_tokens", [1, 40, 100, 100_000])
def test_batch_size_changes_nothing(batch_tokens: int) -> None:
    model = small_models.llama()
    prompt = small_models.prompt(5, model)
    assert_same(score(model, asked(), [prompt], batch_tokens=batch_tokens), score(model, asked(), [prompt]))


def test_order_and_company_change_nothing() -> None:
    model = small_models.llama()
    prompts, rows = [small_models.prompt(5, model)], asked()
    together = score(model, rows, prompts)
    order = random.Random(0).sample(range(len(rows)), len(rows))
    # Rows are sorted before they are packed, so that the order is not even rounding.
    assert score(model, [rows[i] for i in order], prompts) == [together[i] for i in order]
    assert score(model, rows * 3, prompts) == together * 3
    assert_same([score(model, [row], prompts)[0] for row in rows], together)


def test_equal_rows_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = prefix_scoring.predict
    monkeypatch.setattr(
        prefix_scoring, "predict", lambda model, rows, *rest: seen.append(len(rows)) or real(model, rows, *rest)
    )
    rows = [Row(row.tokens, tuple(2 * w for w in row.weights), row.prompt, "named") for row in asked()] + asked()
    score(small_models.llama(), rows, [small_models.prompt(5, small_models.llama())])
    assert seen == [len(asked())]


def test_log_probabilities_are_taken_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = small_models.llama(), asked(soft=False)
    expected = score(model, rows)
    monkeypatch.setattr(scoring, "PREDICTIONS", 2)
    monkeypatch.setattr(prefix_scoring, "LOGITS", 5 * small_models.VOCABULARY)
    sizes = []
    real = scoring._logprobs
    monkeypatch.setattr(scoring, "_logprobs", lambda *of: sizes.append(len(of[0])) or real(*of))
    assert_same(score(model, rows), expected)
    assert max(sizes) <= 13  # the row with most labels has 13
    assert sum(len(row.labels) for row in rows) > 40


def test_rows_finish_once_and_in_parts() -> None:
    counts: list[int] = []
    model = small_models.llama()
    score(model, asked() * 2, [small_models.prompt(3, model)], batch_tokens=40, progress=counts.append)
    assert sum(counts) == 2 * len(asked())
    assert len(counts) > 2


def test_nothing_asked_is_nothing_answered() -> None:
    model = small_models.llama()
    assert score(model, []) == []
    assert score(model, [Row((5, 6), (0.0, 0.0))]) == [LogLikelihood(0.0, True, 0)]
    with pytest.raises(ValueError, match=r"row x: 300 tokens .* 256; shorten"):
        score(model, [Row(tuple(range(2, 251)) * 2, (*[0.0] * 300, 1.0, *[0.0] * 197), name="x")])


def test_a_model_in_training_is_scored_without_dropout_and_trains_on() -> None:
    model = small_models.gpt2()
    expected = score(model, asked(soft=False))
    model.train()
    model.transformer.h[0].eval()
    before = [module.training for module in model.modules()]
    assert score(model, asked(soft=False)) == expected
    assert [module.training for module in model.modules()] == before

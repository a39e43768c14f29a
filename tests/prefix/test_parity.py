"""Packed rows against the reference: the same logits, prompt gradient and weight gradients, on every kind of model.

TOLERANCE: two right implementations differ by 1e-6 to 2e-5 here (float32, sums in another order); the bugs that
test_planted_bugs.py plants differ by more than 1e-2. Logits are of the order of 1 to 10, gradients are relative.
"""

from functools import partial

import pytest
import torch

from holdfast.prefix import packed, reference
from tests.prefix.tiny import PACKS, compare, prompt_of, rows_of, tiny

TOLERANCE = 1e-4
RAGGED = (5, 9, 3, 6, 12)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", PACKS)
def test_packed_rows_equal_rows_alone(name: str, attention: str) -> None:
    if (name, attention) == ("Gemma2", "sdpa"):
        pytest.skip("transformers gives this model no sdpa: its scores are soft-capped")
    model = tiny(name, attention)
    found = compare(reference.label_logits, packed.label_logits, model, rows_of(RAGGED), [prompt_of(7)])
    assert found.worst < TOLERANCE, found


@pytest.mark.parametrize("length", [0, 1, 7])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("budget", [None, 20])
@pytest.mark.parametrize("name", ["Llama", "GPT2", "Gemma3"])
def test_for_any_number_of_rows_vectors_and_packed_rows(name: str, budget: int | None, rows: int, length: int) -> None:
    ours = partial(packed.label_logits, budget=budget)
    found = compare(reference.label_logits, ours, tiny(name), rows_of(RAGGED[:rows]), [prompt_of(length)])
    assert found.worst < TOLERANCE, found


def test_shared_beginnings_are_computed_once_and_count_for_every_row() -> None:
    """Four answers to one question, the question twice the same, and labels within the shared part."""
    question, *answers = rows_of((12, 4, 3, 2, 1), labels=1)
    rows = [
        type(question)(question.tokens + answer.tokens, (*[0.0] * 10, 1.0, 0.5, *answer.weights), 0, answer.name)
        for answer in (*answers, answers[0])
    ]
    assert packed.pack(rows, [7]).tokens.shape == (1, 7 + 12 + 3 + 2 + 1)  # An answer's last token is only predicted.
    found = compare(reference.label_logits, packed.label_logits, tiny("Llama"), rows, [prompt_of(7)])
    assert found.worst < TOLERANCE, found


@pytest.mark.parametrize("budget", [None, 20])
def test_rows_behind_different_prompts_and_none_share_a_forward(budget: int | None) -> None:
    rows = [*rows_of(RAGGED, 0), *rows_of(RAGGED, 1), *rows_of(RAGGED, None)][::-1]
    prompts = [prompt_of(7), prompt_of(4, seed=2)]
    ours = partial(packed.label_logits, budget=budget)
    found = compare(reference.label_logits, ours, tiny("Llama"), rows, prompts)
    assert found.worst < TOLERANCE, found


def test_without_a_prompt_it_is_the_plain_model() -> None:
    model = tiny("Llama")
    rows = rows_of(RAGGED, None)
    plain = [model(torch.tensor([row.tokens])).logits[0, [place - 1 for place in row.labels]] for row in rows]
    for implementation in (reference, packed):
        # 1e-5: rounding of logits of the order of 5; any wrong place or mask moves them by more than 1.
        torch.testing.assert_close(implementation.label_logits(model, rows, []), torch.cat(plain), atol=1e-5, rtol=0)


def test_permuting_rows_permutes_the_logits() -> None:
    model, rows, prompts = tiny("Llama"), rows_of(RAGGED), [prompt_of(7)]
    order = [3, 0, 4, 1, 2]
    given = packed.label_logits(model, rows, prompts).view(5, 2, -1)
    permuted = packed.label_logits(model, [rows[i] for i in order], prompts).view(5, 2, -1)
    assert torch.equal(given[order], permuted)  # Packing sorts, so that both are one and the same computation.


def test_more_padding_changes_nothing() -> None:
    model, rows, prompts = tiny("Llama"), rows_of(RAGGED), [prompt_of(7)]
    little, much = (packed.forward(model, packed.pack(rows, [7], 20, multiple), prompts) for multiple in (1, 64))
    # 1e-5: the kernel may sum in other blocks; attended padding moves logits by more than 1e-2 (planted below).
    torch.testing.assert_close(little, much, atol=1e-5, rtol=0)


def test_five_rows_together_equal_five_times_one() -> None:
    model, rows, prompts = tiny("Llama"), rows_of(RAGGED), [prompt_of(7)]
    alone = torch.cat([packed.label_logits(model, [row], prompts) for row in rows])
    torch.testing.assert_close(
        packed.label_logits(model, rows, prompts), alone, atol=1e-5, rtol=0
    )  # Rounding, as above.


def test_gradient_checkpointing_keeps_the_prefix() -> None:
    model, rows, prompts = tiny("Llama"), rows_of(RAGGED), [prompt_of(7)]
    model.requires_grad_(False).train()
    results = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        assert model.is_activation_checkpointing is checkpointing
        prompts[0].grad = None
        loss = packed.label_logits(model, rows, prompts).logsumexp(-1).sum()
        loss.backward()
        assert prompts[0].grad is not None
        results.append((loss.detach(), prompts[0].grad.clone()))
    (plain_loss, plain_gradient), (loss, gradient) = results
    assert plain_gradient.abs().max() > 1e-2  # There is something to lose.
    assert torch.equal(loss, plain_loss)  # The same operations, done twice.
    assert torch.equal(gradient, plain_gradient)


@torch.no_grad()
def test_bfloat16_models_take_packed_rows() -> None:
    """Both round to 8 bits, at other places: about 3% of the logits' spread; the planted bugs move them by 50%."""
    model = tiny("Llama").bfloat16()
    rows, prompts = rows_of(RAGGED), [prompt_of(7)]
    one, other = (i.label_logits(model, rows, prompts).float() for i in (reference, packed))
    assert float((one - other).abs().max() / one.std()) < 0.1

"""Inputs encoded side by side, against each row alone and transformers' own forward: T5 and mT5.

TOLERANCE: two right implementations differ by less than 3e-5 here (float32, sums in another order; logits of the order of 5,
gradients relative); the bugs that are planted below differ by more than 1e-2.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.inference.prefix_scoring import label_logits as scored
from holdfast.prefix import encoder_decoder, head, reference
from holdfast.prefix.attached import Attached
from holdfast.prefix.capability import capability
from holdfast.prefix.encoder_decoder import Encoded
from holdfast.prefix.model import PrefixModel
from holdfast.prefix.probe import _SEEN, agrees
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.row import Row
from holdfast.training.loss import token_loss
from holdfast.training.preparation import set_dropout
from tests.encoder_decoder import KINDS, model, prompt_of, rows
from tests.prefix.tiny import compare

TOLERANCE, BUG = 1e-4, 1e-2
RAGGED = ((5, 1), (9, 2), (3, 3), (6, 1), (40, 2), (5, 4))


def question_with_choices(prompt: int | None = 0) -> list[Row]:
    """One input, four answers of different lengths, and another input that begins like it."""
    given, *others = rows((7, 1), (7, 3), (7, 2), (7, 1), (9, 2), prompt=prompt)
    same = [Row(given.tokens[:7] + row.tokens[7:], row.weights, prompt, row.name, encoded=7) for row in others[:3]]
    other = Row(given.tokens[:7] + others[3].tokens[7:], others[3].weights, prompt, "another", encoded=9)
    return [same[0], given, other, *same[1:]]


@pytest.mark.parametrize("soft", [0, 1, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_equal_each_row_alone(kind: str, soft: int) -> None:
    asked = [*rows(*RAGGED, prompt=0 if soft else None), *question_with_choices(0 if soft else None)]
    prompts = [prompt_of(soft)] if soft else []
    found = compare(reference.label_logits, encoder_decoder.label_logits, model(kind), asked, prompts)
    assert found.worst < TOLERANCE, found


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_one_that_transformers_computes(kind: str) -> None:
    """By `labels=`, for one row; with the prompt before the encoder's embeddings."""
    plain, (row,), prompt = model(kind), rows((6, 4)), prompt_of(5)
    weights = torch.ones(4)
    output = PrefixModel(plain, [SoftPrompt(prompt)])([Row(row.tokens, (0.0,) * 6 + (1.0,) * 4, 0, encoded=6)])
    ours = torch.nn.functional.cross_entropy(output.logits, output.labels)
    words = plain.get_input_embeddings()(torch.tensor([row.tokens[:6]]))
    theirs = plain(inputs_embeds=torch.cat([prompt[None], words], 1), labels=torch.tensor([row.tokens[6:]])).loss
    torch.testing.assert_close(
        ours, theirs, atol=1e-5, rtol=0
    )  # Rounding; a wrong decoder start moves it by more than 0.1.
    assert torch.equal(output.weights, weights)


@pytest.mark.parametrize("waste", [0, 10**6])
def test_how_inputs_are_grouped_changes_nothing(waste: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_decoder, "WASTE", waste)
    asked = [*rows(*RAGGED), *rows(*RAGGED, prompt=1, seed=1), *rows(*RAGGED, prompt=None, seed=2)][::-1]
    found = compare(
        reference.label_logits, encoder_decoder.label_logits, model("t5"), asked, [prompt_of(7), prompt_of(3, seed=2)]
    )
    assert found.worst < TOLERANCE, found


def test_an_input_is_encoded_once_and_padding_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    real = encoder_decoder.encode

    def watched(plain: Any, inputs: Any, vectors: Any) -> Encoded:
        found = real(plain, inputs, vectors)
        seen.append((int(found.mask.sum()), found.mask.numel()))
        return found

    monkeypatch.setattr(encoder_decoder, "encode", watched)
    encoder_decoder.label_logits(model("t5"), question_with_choices(), [prompt_of(7)])
    assert seen == [(14 + 16, 2 * 16)]  # Five rows, two inputs.
    seen.clear()
    monkeypatch.setattr(encoder_decoder, "WASTE", 20)
    encoder_decoder.label_logits(model("t5"), rows(*((length, 1) for length in range(1, 60))), [prompt_of(7)])
    used, computed = (sum(column) for column in zip(*seen, strict=True))
    assert used == sum(range(1, 60)) + 59 * 7
    assert computed < 1.2 * used
    assert len(seen) < 12


def test_permuting_rows_permutes_the_logits() -> None:
    plain, asked, prompts = model("t5"), rows(*((n, 2) for n in (5, 9, 3, 6))), [prompt_of(7)]
    order = [3, 0, 2, 1]
    given = encoder_decoder.label_logits(plain, asked, prompts).view(4, 2, -1)
    permuted = encoder_decoder.label_logits(plain, [asked[i] for i in order], prompts).view(4, 2, -1)
    assert torch.equal(given[order], permuted)  # Inputs are sorted, so that both are one and the same computation.


def test_a_weight_of_0_at_the_first_answer_token_moves_no_boundary() -> None:
    """A method may take a token's weight away: the encoder still reads the same tokens."""
    (row,) = rows((6, 3))
    masked = Row(row.tokens, (*row.weights[:6], 0.0, *row.weights[7:]), 0, encoded=6)
    for implementation in (reference, encoder_decoder):
        whole = implementation.label_logits(model("t5"), [row], [prompt_of(7)])
        torch.testing.assert_close(
            implementation.label_logits(model("t5"), [masked], [prompt_of(7)]), whole[1:], atol=1e-5, rtol=0
        )


def test_low_rank_updates_and_a_soft_prompt_go_with_their_own_rows() -> None:
    plain = model("t5")
    name = "encoder.block.0.layer.0.SelfAttention.q"
    up, down = torch.randn(32, 2), torch.randn(2, 32)
    prompts = [Attached(prompt_of(3), updates={name: (down, up)}), prompt_of(4, seed=2)]
    asked = [*rows((5, 2), (9, 1)), *rows((5, 2), (7, 1), prompt=1, seed=1)][::-1]
    expected = reference.label_logits(plain, asked, prompts)
    torch.testing.assert_close(encoder_decoder.label_logits(plain, asked, prompts), expected, atol=TOLERANCE, rtol=0)
    assert not torch.allclose(expected, reference.label_logits(plain, asked, [prompt_of(3), prompts[1]]), atol=BUG)


def test_scoring_takes_the_same_way() -> None:
    plain, asked = model("mt5"), [*rows(*RAGGED), *question_with_choices()]
    with torch.no_grad():
        expected = reference.label_logits(plain, asked, [prompt_of(7)])
        torch.testing.assert_close(scored(plain, asked, [prompt_of(7)]), expected, atol=TOLERANCE, rtol=0)


def padding_is_seen(patch: pytest.MonkeyPatch) -> None:
    real = encoder_decoder.encode

    def encode(plain: Any, inputs: Sequence[Sequence[int]], vectors: Sequence[Tensor | None]) -> Encoded:
        found = real(plain, inputs, vectors)
        return Encoded(found.states, torch.ones_like(found.mask))

    patch.setattr(encoder_decoder, "encode", encode)


def states_of_the_first_for_all(patch: pytest.MonkeyPatch) -> None:
    real = Encoded.take
    patch.setattr(Encoded, "take", lambda found, which: real(found, which * 0))


def the_decoder_begins_with_its_end_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(encoder_decoder, "decoder_start", lambda plain: 1)


def the_prompt_is_encoded_once_for_all(patch: pytest.MonkeyPatch) -> None:
    """Its states put before those of the inputs: what would be right behind a causal model."""
    real = encoder_decoder.encode

    def encode(plain: Any, inputs: Sequence[Sequence[int]], vectors: Sequence[Tensor | None]) -> Encoded:
        prompt = real(plain, [()], vectors[:1]).states
        own = real(plain, inputs, [None] * len(inputs))
        states = torch.cat([prompt.expand(len(inputs), -1, -1), own.states], 1)
        return Encoded(states, torch.cat([own.mask.new_ones(states.shape[0], prompt.shape[1]), own.mask], 1))

    patch.setattr(encoder_decoder, "encode", encode)


def labels_one_place_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Row, "boundary", property(lambda row: (row.encoded or 0) - 1))


BUGS = [
    padding_is_seen,
    states_of_the_first_for_all,
    the_decoder_begins_with_its_end_token,
    the_prompt_is_encoded_once_for_all,
    labels_one_place_late,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
@torch.no_grad()
def test_a_planted_bug_fails_parity(bug: Callable[[Any], None], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked, prompts = model(kind), rows(*RAGGED), [prompt_of(7)]
    expected = reference.label_logits(plain, asked, prompts)
    noise = float((encoder_decoder.label_logits(plain, asked, prompts) - expected).abs().max())
    bug(monkeypatch)
    found = float((encoder_decoder.label_logits(plain, asked, prompts) - expected).abs().max())
    print(f"{bug.__name__}: noise {noise:.1e}, bug {found:.1e}")
    assert noise < TOLERANCE / 3
    assert found > BUG


def test_a_detached_prompt_fails_parity_by_its_gradient() -> None:
    def detached(plain: Any, asked: Sequence[Row], prompts: Sequence[Tensor]) -> Tensor:
        return encoder_decoder.label_logits(plain, asked, [prompt.detach() for prompt in prompts])

    found = compare(reference.label_logits, detached, model("t5"), rows(*RAGGED), [prompt_of(7)])
    assert found.logits < TOLERANCE
    assert found.prompt > BUG


def test_a_model_that_sees_padding_is_computed_row_by_row() -> None:
    """The probe decides with numbers, as everywhere."""

    class Deaf(type(model("t5"))):
        def forward(self, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    plain = model("t5")
    plain.__class__ = Deaf
    _SEEN.pop(plain, None)
    assert not agrees(plain, encoder_decoder.padded_and_alone)
    assert not capability(plain).packed
    assert capability(model("t5")).packed
    asked, ours = rows(*RAGGED), PrefixModel(plain, [SoftPrompt(prompt_of(7))])
    expected = reference.label_logits(model("t5"), asked, [prompt_of(7)])
    torch.testing.assert_close(ours(asked).logits, expected, atol=TOLERANCE, rtol=0)


def test_gradient_checkpointing_keeps_the_prompt() -> None:
    plain, prompt = model("t5").requires_grad_(False).train(), SoftPrompt(prompt_of(7))
    set_dropout(plain, 0.0)
    results = []
    for checkpointing in (False, True):
        if checkpointing:
            plain.activation_checkpointing_enable({"use_reentrant": False})
        prompt.zero_grad()
        loss = encoder_decoder.label_logits(plain, rows(*RAGGED), [prompt()]).logsumexp(-1).sum()
        loss.backward()
        gradient = prompt.vectors.grad
        assert gradient is not None
        results.append((loss.detach(), gradient.clone()))
    assert results[0][1].abs().max() > BUG
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=1e-4)


def test_logits_of_a_large_vocabulary_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """mT5's 250,000 tokens. T5 scales its states where head and embedding are one: the probe sees that, and leaves it whole."""
    asked = rows(*RAGGED)
    results = []
    for logits in (2**25, 3 * 90):
        monkeypatch.setattr(head, "LOGITS", logits)
        ours = PrefixModel(model("mt5"), [SoftPrompt(prompt_of(7))])
        output = ours(asked)
        assert (output.model is not None) == (logits < 2**25)
        loss = output.total(token_loss)
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in ours.parameters() if p.grad is not None)])
    scale = max(float(gradient.abs().max()) for gradient in results[0][1:])
    for one, other in zip(*results, strict=True):  # Sums in another order: 1e-6 of the largest gradient.
        torch.testing.assert_close(one, other, atol=1e-5 * scale + 1e-4 * (one.ndim == 0), rtol=0)
    assert PrefixModel(model("t5"), [SoftPrompt(prompt_of(7))])(asked).model is None

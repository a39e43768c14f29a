"""PrefixModel: packed where the loaded model proves able to, one by one where not, and right either way."""

from typing import Any

import pytest
import torch

from holdfast.prefix import capability as capabilities
from holdfast.prefix import packed, reference
from holdfast.prefix.attention import masks
from holdfast.prefix.capability import capability
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.row import Row
from tests.prefix.tiny import ALONE, PACKS, prompt_of, rows_of, tiny

RAGGED = (5, 9, 3, 6, 9)
CLOSE = {"atol": 1e-4, "rtol": 0}  # Rounding reaches 2e-5 on logits of the order of 5; planted bugs begin at 1e-2.


def behind(name: str, length: int = 7, **changes: Any) -> PrefixModel:
    return PrefixModel(tiny(name, **changes), [SoftPrompt(prompt_of(length))])


@pytest.mark.parametrize("name", PACKS)
def test_models_that_take_packed_rows_are_found_out(name: str) -> None:
    found = capability(tiny(name))
    assert found.packed, found.why
    assert "differ by" in found.why


@pytest.mark.parametrize("name", ALONE)
def test_models_that_do_not_are_computed_one_by_one_or_padded_behind_an_encoder(name: str) -> None:
    """Without attention, with positions from the mask, with an encoder: each against the plain model, by hand."""
    ours = behind(name)
    assert ours.packs() == ours.model.config.is_encoder_decoder, capability(ours.model).why
    rows = rows_of(RAGGED)
    output = ours(rows)
    assert output.logits.shape == (10, 97)
    expected = torch.cat([plain_logits(ours, row) for row in rows])
    torch.testing.assert_close(output.logits, expected, **CLOSE)
    output.logits.logsumexp(-1).sum().backward()
    gradient = ours.prompts[0].get_parameter("vectors").grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def plain_logits(ours: PrefixModel, row: Row) -> torch.Tensor:
    """One row through the transformers model as its documentation has it."""
    plain, (prompt,) = ours.model, (p.get_parameter("vectors") for p in ours.prompts)
    first = row.labels[0]
    words = plain.get_input_embeddings()(torch.tensor(row.tokens))
    if plain.config.is_encoder_decoder:
        inputs = torch.cat([prompt, words[:first]])[None]
        return plain(inputs_embeds=inputs, labels=torch.tensor([row.tokens[first:]])).logits[0]
    return plain(inputs_embeds=torch.cat([prompt, words])[None]).logits[0, len(prompt) + first - 1 : -1]


def test_the_output_says_what_was_predicted() -> None:
    rows = rows_of((4, 3), prompt=0)
    output = behind("Llama")(rows)
    assert output.labels.tolist() == [*rows[0].tokens[-2:], *rows[1].tokens[-2:]]
    assert output.row.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(output.weights, torch.tensor([1.0, 0.7, 1.0, 0.7]))


def test_the_probe_sees_a_mask_that_is_misread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager attention adds a boolean mask: nothing fails, and every number is wrong. Measured, not looked up."""
    monkeypatch.setattr(masks, "additive", lambda end, dtype: masks.visible(end))
    ours = behind("Gemma2", attention="eager")
    assert not ours.packs()
    rows = rows_of(RAGGED)
    torch.testing.assert_close(ours(rows).logits, torch.cat([plain_logits(ours, row) for row in rows]), **CLOSE)


def test_the_probe_runs_once_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = behind("Llama").train()
    ours.model.model.layers[0].eval()
    modes = [module.training for module in ours.modules()]
    state = torch.get_rng_state()
    calls = []
    probe = capabilities._probe
    monkeypatch.setattr(capabilities, "_probe", lambda plain, deep: calls.append(plain) or probe(plain, deep))
    assert ours.packs()
    assert ours.packs()
    assert len(calls) == 1
    assert [module.training for module in ours.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in ours.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spread", [0.02, 0.2])
def test_rounding_does_not_fail_the_probe(dtype: torch.dtype, spread: float) -> None:
    found = capability(tiny("Llama", initializer_range=spread).to(dtype))
    assert found.packed, found.why


def test_a_prompt_stays_in_float32_beside_a_half_precision_model() -> None:
    ours = PrefixModel(tiny("Llama").bfloat16(), [SoftPrompt(prompt_of(7).bfloat16())])
    output = ours(rows_of(RAGGED))
    assert output.logits.dtype == torch.bfloat16
    output.logits.float().logsumexp(-1).sum().backward()
    vectors = ours.prompts[0].get_parameter("vectors")
    assert vectors.dtype == torch.float32
    assert vectors.grad is not None
    assert vectors.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["Mistral", "Gemma2", "Gemma3"])
def test_rows_within_the_sliding_window_are_packed_and_longer_ones_are_not(name: str) -> None:
    """Window 24, prompt 7: rows of 17 fill it exactly, in a packed row that is longer; rows of 18 and more slide."""
    ours = behind(name)
    assert ours.packs(24)
    assert not ours.packs(25)
    for lengths in ((17, 5, 17), (18, 5), (40, 9)):
        rows = rows_of(lengths)
        torch.testing.assert_close(ours(rows).logits, torch.cat([plain_logits(ours, row) for row in rows]), **CLOSE)
    long = rows_of((40,))
    forced = packed.label_logits(ours.model, long, [ours.prompts[0].get_parameter("vectors")])
    assert (forced - plain_logits(ours, long[0])).abs().max() > 1e-2  # The limit is there for a reason.


def test_a_window_that_no_layer_uses_is_no_limit() -> None:
    assert behind("Qwen2", use_sliding_window=False, sliding_window=8).packs(100)


def test_a_row_longer_than_the_model_is_refused_by_name() -> None:
    ours = behind("GPT2")
    ours(rows_of((121,)))
    with pytest.raises(
        ValueError, match="row 1: 122 tokens behind a prompt of 7 need 129 positions, and the model has 128"
    ):
        ours(rows_of((5, 122)))


def test_a_batch_with_nothing_to_predict_is_refused() -> None:
    with pytest.raises(ValueError, match="no token of this batch carries a loss weight"):
        behind("Llama")(rows_of((5, 6), labels=0))


@pytest.mark.parametrize("implementation", [packed, reference])
def test_a_first_token_predicted_from_nothing_is_refused(implementation: Any) -> None:
    with pytest.raises(ValueError, match="row 0: its first token is to be predicted"):
        implementation.label_logits(tiny("Llama"), rows_of((2,), None), [])


def test_the_budget_bounds_packed_rows_and_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    forward = packed.forward
    monkeypatch.setattr(
        packed, "forward", lambda m, p, v, *a: shapes.append(tuple(p.tokens.shape)) or forward(m, p, v, *a)
    )
    plain, rows = tiny("Llama"), rows_of((20,) * 6)
    prompt = SoftPrompt(prompt_of(60))
    one, several = (PrefixModel(plain, [prompt], budget)(rows).logits for budget in (None, 100))
    assert shapes[-2:] == [(1, 174), (3, 104)]
    torch.testing.assert_close(one, several, **CLOSE)


def test_the_head_runs_at_label_places_only_and_softcapping_is_kept() -> None:
    ours = behind("Gemma2", final_logit_softcapping=2.0)
    seen = []
    ours.model.get_output_embeddings().register_forward_hook(lambda m, i, output: seen.append(tuple(output.shape)))
    assert ours.packs()
    rows = rows_of(RAGGED)
    logits = ours(rows).logits
    assert seen[-1] == (1, 10, 97)
    assert logits.abs().max() < 2
    torch.testing.assert_close(logits, torch.cat([plain_logits(ours, row) for row in rows]), **CLOSE)
    assert not ours.model.get_output_embeddings()._forward_pre_hooks  # The hook is gone again.


def test_a_model_that_names_no_head_is_sliced_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, rows = behind("Llama"), rows_of(RAGGED)
    hooked = ours(rows).logits
    monkeypatch.setattr(type(ours.model), "get_output_embeddings", lambda self: None)
    torch.testing.assert_close(ours(rows).logits, hooked, **CLOSE)

"""One prefix for all rows: the same attention, the same texts, and no copy of the prefix."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from holdfast.inference import transformers_engine
from holdfast.inference.stopping import Stops
from holdfast.models import describe
from holdfast.prefix import cache, reach
from holdfast.prefix.attention import shared_prefix_attention
from tests.inference.engines import generate
from tests.prefix.tiny import ALONE, PACKS, prompt_of, tiny

ROWS, PREFIX, OWN, WIDTH = 3, 5, 4, 8


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape)


@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_attention_equals_that_over_a_copied_prefix(heads: int, softcap: float | None) -> None:
    """Rounding reaches 1e-6 on outputs of the order of 1; the prefix left out, 0.5."""
    torch.manual_seed(0)
    query, key, value = draw(ROWS, heads, 1, WIDTH), draw(ROWS, 2, OWN, WIDTH), draw(ROWS, 2, OWN, WIDTH)
    before = draw(1, 2, PREFIX, WIDTH), draw(1, 2, PREFIX, WIDTH)
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]], dtype=torch.bool)[:, None, None]
    whole = [
        torch.cat([b.expand(ROWS, -1, -1, -1), o], 2).repeat_interleave(heads // 2, 1)
        for b, o in zip(before, (key, value), strict=True)
    ]
    seen = torch.cat([torch.ones(ROWS, 1, 1, PREFIX, dtype=torch.bool), mask], -1)
    if softcap is None:
        expected = scaled_dot_product_attention(query, *whole, attn_mask=seen, scale=0.3)
    else:
        scores = softcap * torch.tanh(0.3 * query @ whole[0].mT / softcap)
        expected = scores.masked_fill(~seen, float("-inf")).softmax(-1) @ whole[1]
    key.before = before  # pyright: ignore[reportAttributeAccessIssue]
    found, _ = shared_prefix_attention.attention(None, query, key, value, mask, scaling=0.3, softcap=softcap)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*PACKS, "Bloom", "Mamba"])
def test_models_that_can_are_found_out(name: str) -> None:
    model = tiny(name)
    assert reach.shares_prefix(model, 20) == (name not in ALONE)
    assert model.config._attn_implementation != shared_prefix_attention.NAME
    if describe.window(model):
        assert not reach.shares_prefix(model, 25), "the prefix would be seen from beyond the window"


def steps(model: Any, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    return generate(model, prompts, Stops(None, eos=[2]), max_new_tokens=5, prompt=prompt_of(6).detach(), **options)


PROMPTS = [[5, 6, 7], [9], [11, 12], [5, 6, 8, 9]]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("prompts", [PROMPTS, [[5], [7], [9]]], ids=["ragged", "one token each"])
@pytest.mark.parametrize("name", ["Llama", "Gemma2", "GPT2"])
def test_texts_are_those_of_a_copied_prefix(
    name: str, prompts: list[list[int]], beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(name)
    monkeypatch.setattr(transformers_engine, "shares_prefix", lambda model, length: False)
    expected = steps(model, prompts, num_beams=beams)
    monkeypatch.setattr(transformers_engine, "shares_prefix", lambda model, length: True)
    assert steps(model, prompts, num_beams=beams) == expected


def test_no_row_holds_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tokens of its own and four new ones are what a row has room for, whatever stands before it."""
    seen: set[int] = set()
    real = cache.RowCache.keep

    def keep(kept: cache.RowCache, order: Any) -> None:
        seen.update(layer.all_keys.shape[2] for layer in kept._filled())
        real(kept, order)

    model = tiny("Llama")
    first = steps(model, [PROMPTS[3]])[0][1]
    monkeypatch.setattr(cache.RowCache, "keep", keep)
    generate(model, PROMPTS, Stops(None, eos=[first]), max_new_tokens=5, prompt=prompt_of(6).detach())
    assert seen == {8}


@pytest.mark.parametrize("bug", ["prefix left out", "other scale", "mask ignored"])
def test_the_probe_notices_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any) -> Any:
        if bug == "prefix left out":
            key.before = tuple(states[:, :, :1] for states in key.before)  # pyright: ignore[reportAttributeAccessIssue]
        if bug == "mask ignored":
            mask = mask.logical_not()
        scaling = options.pop("scaling", None) or query.shape[-1] ** -0.5
        options["scaling"] = scaling * (1.1 if bug == "other scale" else 1)
        return shared_prefix_attention.attention(module, query, key, value, mask, **options)

    from transformers import AttentionInterface

    AttentionInterface.register(shared_prefix_attention.NAME, attention)
    try:
        assert not reach.shares_prefix(tiny("Llama"), 10)
    finally:
        AttentionInterface.register(shared_prefix_attention.NAME, shared_prefix_attention.attention)

"""Intruders: new singular vectors are scaled, all others stay, and peft's rule for LoRA gives the same."""

import copy
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.tuners.lora.intruders import reduce_intruder_dimension
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from holdfast.edits.intruders import Intruders
from holdfast.weights.layout import Layout

NAME = "model.layers.0.mlp.up_proj.weight"
LAYOUT = Layout({NAME: (8, 8), "model.embed_tokens.weight": (8, 8)})
LOCATION = LAYOUT.locate(NAME)


def diagonal(*values: float) -> Tensor:
    return torch.diag(torch.tensor(values))


def test_a_new_direction_is_scaled_and_a_grown_one_is_not() -> None:
    """The base fills three of four directions. One of these grows from 3 to 9, and the fourth comes to 8: it is new."""
    base = torch.zeros(4, 6)
    base[:3, :3] = diagonal(3, 2, 1)
    tuned = base.clone()
    tuned[0, 0] = 9.0
    tuned[3, 5] = 8.0
    # The base's fourth singular value is 0, so a fourth left vector would be any; three are what it has.
    base, tuned = base[:, :3], tuned[:, [0, 1, 5]]
    edited = Intruders(top=2, scale=0.25)(base, [tuned], LOCATION)
    expected = tuned.clone()
    expected[3, 2] = 2.0
    # 1e-5: rounding of a decomposition of numbers below 10; a direction that is wrongly scaled moves by 2 or more.
    torch.testing.assert_close(edited, expected, rtol=0, atol=1e-5)
    only_largest = Intruders(top=1, scale=0.25)(base, [tuned], LOCATION)
    assert torch.equal(only_largest, tuned), "the largest was there before, and the new one is not looked at"


def test_what_lies_outside_the_blocks_and_what_is_no_matrix_stays() -> None:
    draw = torch.Generator().manual_seed(0)
    base, tuned = (torch.randn(8, 4, generator=draw) for _ in range(2))
    assert torch.equal(Intruders(scale=0.0)(base, [tuned], LAYOUT.locate("model.embed_tokens.weight")), tuned)
    assert torch.equal(Intruders(scale=0.0)(base[0], [tuned[0]], LOCATION), tuned[0])
    assert not torch.equal(Intruders(scale=0.0, threshold=1.0)(base, [tuned], LOCATION), tuned)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 20), columns=st.integers(1, 20), seed=st.integers(0, 2**31), scale=st.floats(0, 2))
def test_with_all_vectors_taken_for_intruders_the_matrix_is_scaled(
    rows: int, columns: int, seed: int, scale: float
) -> None:
    """A row alone is left out: its vector is 1, and so is the base's. Else cosines are below 1 almost surely, and the sum over all
    singular vectors is the matrix itself."""
    draw = torch.Generator().manual_seed(seed)
    base, tuned = (torch.randn(rows, columns, generator=draw) for _ in range(2))
    edited = Intruders(top=20, threshold=1.0, scale=scale)(base, [tuned], LOCATION)
    torch.testing.assert_close(edited, scale * tuned, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 0.75])
def test_pefts_rule_for_lora_gives_the_same(scale: float) -> None:
    """peft writes its result as a LoRA of the same rank, so the rank is that of the width here, and nothing is cut off.

    1e-4: two more decompositions in float32 of weights near 1; an intruder that only one of the two scales differs by 0.1.
    """
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.2,
    )
    model: Any = LlamaForCausalLM(config)
    before = copy.deepcopy(model.model.layers[0].mlp.up_proj.weight.detach())
    wrapped: Any = peft.get_peft_model(model, peft.LoraConfig(r=64, lora_alpha=64, target_modules=["up_proj"]))
    layer = wrapped.base_model.model.model.layers[0].mlp.up_proj
    with torch.no_grad():
        # Two directions that no vector of the base is like: among 64 of them, the largest cosine of a random one is about 0.35.
        layer.lora_A["default"].weight[2:] = 0
        layer.lora_B["default"].weight.normal_(std=2)
    tuned = before + layer.get_delta_weight("default").detach()
    lines: list[str] = []
    reduce_intruder_dimension(wrapped, mitigation_lambda=scale, logging_sink=lines.append)
    assert any("Intruders" in line for line in lines), "the case must have some"
    theirs = before + layer.get_delta_weight("intruder_reduced").detach()
    ours = Intruders(scale=scale)(before, [tuned], LOCATION)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert not torch.allclose(ours, tuned, atol=1e-2)

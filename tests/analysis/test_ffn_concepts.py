"""Words of value vectors on models in which they were planted, and turns that are known."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from holdfast.analysis._word_space import angle
from holdfast.analysis.base import Subject
from holdfast.analysis.ffn_concepts import ffn_concepts, principal
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from tests.analysis.test_head_word_pairs import normed
from tests.training import tiny

LAYER = "model.layers.1.mlp.down_proj"


def subject(tuned: Pretrained, base: Pretrained) -> Subject:
    return Subject(tuned, PrefixModel(tuned.model), base, (), ())


def measured(base: Pretrained, tuned: Pretrained) -> dict[tuple[str, str], float]:
    return {(f.measure, f.where): f.value for f in ffn_concepts(subject(tuned, base))}


def down(model: Pretrained) -> torch.Tensor:
    return dict(model.model.named_parameters())[f"{LAYER}.weight"]


@pytest.mark.parametrize("tied", [False, True])
def test_a_planted_value_vector_promotes_its_word(tied: bool) -> None:
    """Unit 5 writes what the final norm makes the head's row of a word; read without the norm it would be another word."""
    base, tuned = normed(tied=tied), normed(tied=tied)
    head = tuned.model.get_output_embeddings().weight
    norm: Any = tuned.model.model.norm
    with torch.no_grad():
        norm.weight.copy_(torch.logspace(-2, 2, 32))
        nearest, plain = (head @ head.T).argmax(1).tolist(), (head @ (head / norm.weight).T).argmax(0).tolist()
        word = next(w for w in range(3, tiny.VOCABULARY) if nearest[w] == w != plain[w])
        written = head[word] / norm.weight
        down(tuned)[:, 5] = written
    findings = measured(base, tuned)
    ((where, degrees),) = [(where, value) for (measure, where), value in findings.items() if measure == "turned"]
    assert where.startswith(f"{LAYER} 5: ")
    assert where.rpartition(" -> ")[2].split()[0] == f"w{word}"
    cosine = torch.cosine_similarity(down(base)[:, 5].detach().double(), written.double(), dim=0)
    assert degrees == pytest.approx(float(torch.rad2deg(cosine.acos())), rel=1e-5)
    assert findings["turn", LAYER] == pytest.approx(degrees / 48), "the mean over 48 units, of which one turned"
    assert findings["turn", "model.layers.0.mlp.down_proj"] == 0


def test_a_planted_concept_is_listed_and_a_removed_one_is_gone() -> None:
    """All value vectors of one layer lie along what promotes word 11, some of them against it."""
    base, tuned = normed(), normed()
    norm: Any = tuned.model.model.norm
    with torch.no_grad():
        direction = tuned.model.get_output_embeddings().weight[11] / norm.weight
        down(tuned).copy_(direction[:, None] * torch.linspace(-1, 2, 48))
    listed = {where: value for (measure, where), value in measured(base, tuned).items() if measure == "concept_tuned"}
    ((where, share),) = [(where, value) for where, value in listed.items() if where.startswith(LAYER)]
    assert where.partition(": ")[2].split()[0] == "w11"
    assert share == pytest.approx(1)


@pytest.mark.parametrize(("moved", "overlap"), [(0, 1.0), (5, 0.5), (10, 0.0)])
def test_the_overlap_is_the_share_of_directions_that_stayed(moved: int, overlap: float) -> None:
    """Ten dimensions are written, of which `moved` are others after tuning."""
    base, tuned = tiny.pretrained(), tiny.pretrained()
    draw = torch.randn(10, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for model, first in ((base, 0), (tuned, moved)):
            down(model).zero_()
            down(model)[first : first + 10] = draw
    assert measured(base, tuned)["concept_overlap", LAYER] == pytest.approx(overlap, abs=1e-6)


def test_turns_are_of_directions_and_not_of_lengths() -> None:
    base, tuned = tiny.pretrained(), tiny.pretrained()
    with torch.no_grad():
        down(tuned).mul_(3)
    assert measured(base, tuned)["turn", LAYER] == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        down(tuned).mul_(-1)
    findings = measured(base, tuned)
    assert findings["turn", LAYER] == pytest.approx(180)
    assert findings["concept_overlap", LAYER] == pytest.approx(1), (
        "what is written with the other sign is the same space"
    )
    assert angle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])) == pytest.approx(90)
    assert angle(torch.zeros(3), torch.ones(3)) == 0
    assert principal(torch.ones(4, 3))[1] == 0, "equal vectors have no direction"


def test_an_adapter_counts_with_its_update() -> None:
    base, tuned = tiny.pretrained(), tiny.pretrained()
    config = LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
    adapted = replace(tuned, model=get_peft_model(tuned.model, config).get_base_model())
    assert measured(base, adapted)["turn", LAYER] > 1


def test_other_architectures_are_served_or_refused() -> None:
    config = GPT2Config(vocab_size=tiny.VOCABULARY, n_positions=32, n_embd=8, n_layer=1, n_head=2)
    gpt2 = replace(tiny.pretrained(), model=GPT2LMHeadModel(config))
    assert [where for measure, where in measured(gpt2, gpt2) if measure == "turn"] == ["transformer.h.0.mlp.c_proj"]
    encoder = T5ForConditionalGeneration(T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(ValueError, match="a model with an encoder is not supported"):
        ffn_concepts(subject(replace(tiny.pretrained(), model=encoder), tiny.pretrained()))

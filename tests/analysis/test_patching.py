"""Patching on a tiny model in which it is known which head does what."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from holdfast.analysis._head_patching import Heads, aligned, counterparts, questions
from holdfast.analysis.base import Finding, Subject
from holdfast.analysis.circuit import circuit, shuffled
from holdfast.analysis.cross_model_patching import cross_model_patching
from holdfast.analysis.path_patching import correlation, path_patching
from holdfast.analysis.representation_drift import cka, predictivity, representation_drift
from holdfast.models.loading import Pretrained
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from tests.training import tiny

LAST = "model.layers.1.self_attn.o_proj"
NOISE = 2e-4  # float32 noise of log-probabilities, over gains of about 1; a head that is not patched is off by 0.01 and more


def subject(tuned: Pretrained | None = None, rows: Sequence[Row] | None = None) -> Subject:
    after = tuned or tiny.pretrained()
    return Subject(after, PrefixModel(after.model), tiny.pretrained(), tiny.rows(12) if rows is None else rows, ())


def values(findings: Sequence[Finding], measure: str) -> dict[str, float]:
    return {finding.where: finding.value for finding in findings if finding.measure == measure}


def test_a_models_own_outputs_change_no_bit() -> None:
    heads, tokens = Heads(tiny.pretrained().model), tiny.rows()[0].tokens
    outputs = heads.outputs(tokens)
    plain = heads.answers(tokens)
    assert torch.equal(heads.answers(tokens, lambda layer, _: outputs[layer][None]), plain)
    assert len(heads.names) == 8
    assert [tuple(layer.shape) for layer in outputs] == [(len(tokens), 4, 8)] * 2
    assert not torch.equal(heads.answers(tokens, lambda layer, each: torch.zeros_like(each)), plain)
    assert all(not module._forward_pre_hooks for module in heads.places.values())


def test_the_head_that_was_changed_recovers_all_of_the_gain_and_the_others_nothing() -> None:
    """Only the queries of head 2 in the last layer differ: what it says differs, and nothing else that the last layer reads."""
    tuned = tiny.pretrained()
    with torch.no_grad():
        layer: Any = tuned.model.model.layers[1].self_attn
        layer.q_proj.weight[16:24] += torch.randn(8, 32, generator=torch.Generator().manual_seed(3))
    recovered = values(cross_model_patching(subject(tuned)), "recovered")
    expected = dict.fromkeys(Heads(tuned.model).names, 0.0) | {f"{LAST} head 2": 1.0, "all heads": 1.0}
    assert recovered == pytest.approx(expected, abs=NOISE / 0.05)


def test_what_lies_outside_the_heads_is_not_recovered() -> None:
    tuned = tiny.pretrained()
    with torch.no_grad():
        layer: Any = tuned.model.model.layers[1].mlp.up_proj
        layer.weight.mul_(1.5)
    findings = cross_model_patching(subject(tuned))
    assert max(map(abs, values(findings, "recovered").values())) < NOISE / 0.05
    assert abs(values(findings, "gain")["answer"]) > 0.01


def test_without_a_gain_there_is_nothing_to_recover() -> None:
    assert cross_model_patching(subject()) == []


def test_path_patching_changes_one_heads_output_alone() -> None:
    """By hand, for a head of the last layer: its columns of the projection times the difference of its two outputs."""
    given = subject()
    effects = values(path_patching(given), "effect_base")
    heads = Heads(given.base.model)
    asked = questions(given.rows, "x")
    total = 0.0
    for question, other in zip(asked, counterparts(asked), strict=True):
        clean = heads.outputs(question.tokens)[1]
        change = heads.outputs(other.tokens)[1][-1, 3] - clean[-1, 3]

        def moved(layer: int, outputs: torch.Tensor, change: torch.Tensor = change) -> torch.Tensor:
            outputs = outputs.clone()
            if layer == 1:
                outputs[0, -1, 3] += change
            return outputs

        with torch.no_grad():
            before, after = heads.answers(question.tokens), heads.answers(question.tokens, moved)
        for logs, sign in ((before, 1), (after, -1)):
            total += sign * float(logs[0, question.answer] - logs[0, other.answer])
    assert effects[f"{LAST} head 3"] == pytest.approx(total / len(asked), abs=NOISE)
    assert abs(total) > 0.01


def test_equal_models_agree_and_a_head_that_says_nothing_has_no_effect() -> None:
    tuned = tiny.pretrained()
    assert values(path_patching(subject(tuned)), "agreement") == {"all heads": pytest.approx(1.0)}
    with torch.no_grad():
        projection: Any = tuned.model.get_submodule(LAST)
        projection.weight[:, 8:16] = 0.0
    findings = path_patching(subject(tuned))
    assert values(findings, "effect_tuned")[f"{LAST} head 1"] == pytest.approx(0.0, abs=NOISE)
    assert values(findings, "agreement")["all heads"] < 0.999
    assert correlation([1.0, 1.0], [1.0, 2.0]) is None


def test_a_circuit_leaves_out_the_heads_that_say_nothing() -> None:
    tuned = tiny.pretrained()
    with torch.no_grad():
        for layer in tuned.model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    findings = circuit(subject(tuned))
    assert values(findings, "size")["tuned"] == 0.0
    assert 0 < values(findings, "size")["base"] <= 1
    assert values(findings, "overlap") == {"heads": 0.0}


def test_equal_models_have_one_circuit_and_the_weights_stay() -> None:
    given = subject()
    before = {name: weight.clone() for name, weight in given.model.named_parameters()}
    given.model.model.requires_grad_(True)
    findings = circuit(given)
    assert values(findings, "overlap") == {"heads": 1.0}
    share = values(findings, "right")
    assert share["base in base"] == share["base in tuned"] == share["tuned in tuned"]
    assert share["whole base"] == share["whole tuned"]
    assert set(share) == {
        "whole base",
        "whole tuned",
        "base in base",
        "base in tuned",
        "tuned in tuned",
        "random in tuned",
    }
    mask = torch.tensor([[True, False, False], [True, False, False]])
    assert shuffled(mask, 1).sum() == 2
    assert any(not torch.equal(shuffled(mask, seed), mask) for seed in range(4))
    assert all(torch.equal(before[name], weight) for name, weight in given.model.named_parameters())
    assert all(weight.requires_grad and weight.grad is None for weight in given.model.parameters())


def test_outputs_are_aligned_from_the_end() -> None:
    own, other = torch.arange(5.0).view(5, 1, 1), 10 + torch.arange(3.0).view(3, 1, 1)
    assert aligned([own], [other])[0].flatten().tolist() == [0, 1, 10, 11, 12]
    assert aligned([other], [own])[0].flatten().tolist() == [2, 3, 4]


@pytest.mark.parametrize("analysis", [cross_model_patching, path_patching, circuit])
def test_rows_without_two_answers_are_refused(analysis: Any) -> None:
    with pytest.raises(ValueError, match="needs the rows of training"):
        analysis(subject(rows=()))
    with pytest.raises(ValueError, match="have one answer only"):
        analysis(subject(rows=tiny.rows(1)))


def test_likeness_of_states_sees_through_rotation_and_predictivity_through_any_linear_map() -> None:
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(400, 6, generator=draw, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=draw, dtype=torch.float64))[0]
    noise = torch.randn(400, 6, generator=draw, dtype=torch.float64)
    folds = torch.arange(400) % 5
    assert cka(states, states) == pytest.approx(1.0)
    assert cka(states, 3 * states @ rotation + 1) == pytest.approx(1.0)
    # Of unrelated states the expectation is about D / n = 0.015.
    assert cka(states, noise) < 0.06
    stretched = states @ torch.diag(torch.tensor([9.0, 1, 1, 1, 1, 0.1], dtype=torch.float64))
    assert cka(states, stretched) < 0.9
    assert predictivity(states, stretched, folds) == pytest.approx(1.0, abs=1e-3)
    assert predictivity(states, noise, folds) < 0.02
    # Half of the variance is the states', half is noise.
    assert predictivity(states, states + noise, folds) == pytest.approx(0.5, abs=0.06)


def test_states_that_did_not_move_are_alike_and_those_after_a_changed_block_are_not() -> None:
    same = representation_drift(subject())
    assert values(same, "cka") == pytest.approx({"embeddings": 1.0, "layers.0": 1.0, "layers.1": 1.0})
    tuned = tiny.pretrained()
    with torch.no_grad():
        layer: Any = tuned.model.model.layers[1].mlp.up_proj
        layer.weight.copy_(torch.randn(48, 32, generator=torch.Generator().manual_seed(5)))
    moved = values(representation_drift(subject(tuned)), "cka")
    assert [moved["embeddings"], moved["layers.0"]] == pytest.approx([1.0, 1.0])
    assert moved["layers.1"] < 0.99
    with pytest.raises(ValueError, match="ten rows"):
        representation_drift(subject(rows=tiny.rows(3)))

"""The analyses on a tiny model, where what they must say is known."""

from typing import Any

import pytest
import torch

from holdfast.analysis.base import Subject
from holdfast.analysis.gradient_alignment import gradient_alignment
from holdfast.analysis.label_mass import label_mass
from holdfast.analysis.weight_drift import effective_rank, weight_drift
from holdfast.prefix.model import PrefixModel
from holdfast.rows import Row
from tests.training import tiny


def subject(**changed: Any) -> Subject:
    tuned = tiny.pretrained()
    given = {"base": tiny.pretrained(), "rows": tiny.rows(), "shuffled": tiny.rows()} | changed
    return Subject(tuned, PrefixModel(tuned.model), **given)


def test_the_same_answers_give_the_same_gradient_and_others_do_not() -> None:
    same = [finding.value for finding in gradient_alignment(subject())]
    assert len(same) == 2 * 7  # seven matrices in each of two blocks
    assert same == pytest.approx([1.0] * len(same), abs=1e-9)
    other = [Row((*row.tokens[:-1], (row.tokens[-1] + 5) % 30 + 3), row.weights, None, row.name) for row in tiny.rows()]
    assert max(finding.value for finding in gradient_alignment(subject(shuffled=other))) < 0.99


def test_the_analysis_leaves_no_gradient_and_no_parameter_to_train() -> None:
    given = subject()
    given.model.requires_grad_(False)
    gradient_alignment(given)
    assert all(p.grad is None and not p.requires_grad for p in given.model.parameters())


def test_the_drift_of_a_known_change() -> None:
    given = subject()
    before = {(f.measure, f.where): f.value for f in weight_drift(given)}
    assert set(before.values()) == {0.0}
    weight = given.pretrained.model.model.layers[1].mlp.up_proj.weight
    weight.data += torch.outer(torch.ones(48), torch.ones(32)) * 0.5
    found = {(f.measure, f.where): f.value for f in weight_drift(given)}
    total = sum(p.numel() for p in given.pretrained.model.model.layers[1].parameters())
    assert found["mean_abs", "layers.1"] == pytest.approx(0.5 * 48 * 32 / total, rel=1e-5)
    assert found["effective_rank", "layers.1"] == pytest.approx(
        1.0, abs=1e-4
    )  # float32 noise; two directions would give up to 2
    assert found["mean_abs", "layers.0"] == 0.0


def test_the_effective_rank_counts_directions() -> None:
    assert effective_rank(torch.eye(5, dtype=torch.float64)) == pytest.approx(5.0)
    assert effective_rank(torch.diag(torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64))) == pytest.approx(1.0)


def test_the_mass_of_all_labels_is_one_and_of_some_the_models_own() -> None:
    row = Row((1, 5, 9, 8), (0.0, 0.0, 0.0, 1.0))
    every = subject(asked=[("other", row)], labels={"other": frozenset(range(tiny.VOCABULARY))})
    assert [(f.measure, f.where) for f in label_mass(every)] == [("mass_off", "other")]
    assert label_mass(every)[0].value == pytest.approx(1.0, abs=1e-5)
    some = subject(asked=[("other", row)], labels={"other": frozenset({7, 8})})
    with torch.no_grad():
        logits = some.pretrained.model(torch.tensor([[1, 5, 9]])).logits[0, -1]
    assert label_mass(some)[0].value == pytest.approx(float(logits.softmax(-1)[[7, 8]].sum()), abs=1e-5)
    assert label_mass(subject(asked=[("other", row)])) == []

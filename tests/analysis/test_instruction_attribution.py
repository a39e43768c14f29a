"""Attribution to the instruction, on models and numbers where it is known."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from holdfast.analysis.base import Subject
from holdfast.analysis.instruction_attribution import attribution, instruction_attribution, instructions, score
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from tests.training import tiny


def rows(count: int = 6) -> list[Row]:
    """Prompts `<s> w30 w31 (two words of their own) w32`, with answers of two tokens."""
    made = []
    for i in range(count):
        tokens = (1, 30, 31, 3 + i, 10 + i, 32, 20 + i, 2)
        made.append(Row(tokens, (0.0,) * 6 + (1.0, 1.0), name=f"x[{i}]"))
    return made


def subject(**changed: Any) -> Subject:
    tuned = tiny.pretrained(seed=1)
    return replace(Subject(tuned, PrefixModel(tuned.model), tiny.pretrained(), rows(), ()), **changed)


def test_the_instruction_is_what_all_prompts_begin_and_end_with() -> None:
    prompts = [row.tokens[:6] for row in rows()]
    assert instructions(prompts, frozenset({1})) == [[1, 2, 5]] * 6
    assert instructions([(1, 2, 3), (1, 2, 9, 3)]) == [[0, 1, 2], [0, 1, 3]]
    assert instructions([(1, 2), (1, 2)]) == []


def test_the_score_is_the_papers() -> None:
    """Two answer tokens: all to the first input token; nine tenths of one answer token to the second."""
    levels = torch.tensor([[10.0, 0.0, 0.0], [10.0, 9.0, 0.0]])
    first = 20 / (2 * 10.0**4) ** 0.25
    second = 9 / 9
    assert score(levels, [0]) == pytest.approx(1 / math.log2(3))
    assert score(levels, [0, 1]) == pytest.approx((1 + second / first) / math.log2(4), rel=1e-5)
    assert score(levels, [2]) == 0.0
    assert score(levels, [0]) == pytest.approx(score(3 * levels, [0]))


def test_the_attribution_is_gradient_times_input_in_tenths() -> None:
    """Against finite differences along each embedding: d log p / d scale at scale 1."""
    model, row = tiny.pretrained().model.double(), rows(1)[0]
    levels = attribution(model, row)
    assert levels.shape == (2, 6)
    embedded = model.get_input_embeddings()(torch.tensor([row.tokens])).detach()
    slopes = torch.zeros(2, 6)
    with torch.no_grad():
        for token in range(6):
            ends = []
            for step in (1e-3, -1e-3):
                moved = embedded.clone()
                moved[0, token] *= 1 + step
                logs = model(inputs_embeds=moved).logits[0].log_softmax(-1)
                ends.append(torch.stack([logs[label - 1, row.tokens[label]] for label in row.labels]))
            slopes[:, token] = ((ends[0] - ends[1]) / 2e-3).relu()
    tenths = 10 * slopes / slopes.amax(1, keepdim=True)
    expected = torch.where(tenths.ceil() > 7, tenths.ceil(), 0.0)
    sure = (tenths - tenths.round()).abs() > 0.02  # noise of the norms, which are float32
    sure |= tenths == 10
    assert torch.equal(levels.float()[sure], expected[sure])
    assert levels.max() == 10


def test_a_model_that_ignores_its_input_but_the_instruction_owes_it_all() -> None:
    """Words outside the instruction have embeddings of 0, so that their gradient times input is 0."""
    tuned = tiny.pretrained()
    with torch.no_grad():
        tuned.model.get_input_embeddings().weight[3:30] = 0.0
        tuned.model.get_input_embeddings().weight[1] = 0.0
    given = subject(pretrained=tuned, model=PrefixModel(tuned.model))
    for row in rows():
        levels = attribution(tuned.model, row)
        assert not levels[:, [0, 3, 4]].any()
        assert levels[:, [1, 2, 5]].any()
    values = {finding.where: finding.value for finding in instruction_attribution(given)}
    assert values["tuned"] > 0
    assert set(values) == {"base", "tuned", "tuned - base"}


def test_equal_models_score_the_same_and_nothing_is_left_behind() -> None:
    same = tiny.pretrained()
    given = subject(pretrained=same, model=PrefixModel(same.model))
    values = {finding.where: finding.value for finding in instruction_attribution(given)}
    assert values["base"] == values["tuned"]
    assert values["tuned - base"] == 0.0
    assert all(weight.grad is None for weight in same.model.parameters())


def test_rows_without_an_instruction_are_refused() -> None:
    with pytest.raises(ValueError, match="needs the rows of training"):
        instruction_attribution(subject(rows=()))
    with pytest.raises(ValueError, match="no words in common"):
        instruction_attribution(subject(rows=rows(1)))

"""Pairs of the model's own answers: the best and the worst, ties left out; and the rounds that make them anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.tune import tune
from holdfast.curation.base import CurationContext
from holdfast.curation.own_pairs import OwnPairs
from holdfast.inference.sampling import Sampling
from holdfast.tasks.task import Example, Task, Template
from tests.recipes.worlds import write_world


class Parrot:
    """A model with given answers to each question, in turn."""

    tokenizer = None

    def __init__(self, *answers: list[str]) -> None:
        self.answers = answers

    def generate(self, texts: list[str], sampling: Sampling) -> list[str]:
        assert sampling.samples == len(self.answers[0])
        return [text for number in range(len(texts)) for text in self.answers[number]]


def pairs(model: Parrot, **fields: Any) -> list[Example]:
    examples = [Example({"input": f"q{i}"}, "robin") for i in range(len(model.answers))]
    task = Task("birds", {"train": tuple(examples)}, Template())
    technique = OwnPairs(samples=len(model.answers[0]), **fields)
    return list(technique(examples, CurationContext(task, 0, model)))  # pyright: ignore[reportArgumentType]


def test_the_best_answer_is_paired_with_the_worst_and_ties_are_left_out() -> None:
    model = Parrot([" wren", " robin", " a robin"], [" owl", " wren", ""], [" robin", " robin", "robin"])
    (pair,) = pairs(model, reward="f1, exact")
    assert (pair.target, pair.rejected) == ("robin", "wren")
    assert pair.origin == "own pair: birds/train[0], rewards 2 and 0"


def test_with_gold_the_target_stands_for_an_answer_that_is_never_given() -> None:
    never = Parrot([" owl", " wren"])
    with pytest.raises(
        ValueError, match=r"own_pairs: none of 1 questions of birds has two answers whose rewards differ .*gold"
    ):
        pairs(never)
    (pair,) = pairs(never, gold=True)
    assert (pair.target, pair.rejected) == ("robin", "owl")


def test_pairs_within_the_gap_are_left_out() -> None:
    model = Parrot([" robin", " robin wren"], [" robin", " owl"])
    assert [pair.rejected for pair in pairs(model, reward="f1", gap=0.5)] == ["owl"]


def test_each_round_draws_from_the_model_so_far_and_is_measured(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    settings: dict[str, Any] = {"model.steps": 2, "model.batch_size": 4, "model.learning_rate": 1e-2}
    settings |= {"curate.gold": True, "curate.samples": 2, "curate.max_new_tokens": 2}
    out = tmp_path / "run"
    tune(
        world / "model",
        world / "pick",
        "on_policy_dpo",
        curate="own_pairs",
        general=[str(world / "copy")],
        limit=4,
        out=out,
        **settings,
    )
    drawn = {path.read_text() for path in out.parent.rglob("curate-*/data/train.jsonl")}
    assert len(drawn) == 3
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    course = {(score["role"], score["step"]) for score in scores if score.get("step")}
    assert course == {(role, step) for role in ("target", "general") for step in (2, 4, 6)}
    # The last round ends where the tuned model is: asked again, it answers the same.
    last = {(s["task"], s["metric"]): s["value"] for s in scores if s.get("step") == 6}
    asked = [s for s in scores if s["variant"] == "tuned" and not s.get("step") and s["shots"] == 0]
    assert last.items() <= {(s["task"], s["metric"]): s["value"] for s in asked}.items()

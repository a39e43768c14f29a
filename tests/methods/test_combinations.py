"""All pairs of methods: each trains two steps, or is refused when it is planned, with a reason that says what to do."""

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.head_scale import HeadScale
from holdfast.methods.skill_training import SkillTraining
from holdfast.plugins import METHODS, members
from holdfast.row import Row
from holdfast.tasks.task import Example, Template
from holdfast.training.loop import Trainer, Training
from tests.test_docs import generator
from tests.training import tiny

KINDS: dict[str, type[Method]] = members(METHODS)
PAIRS = list(combinations_with_replacement(KINDS, 2))
# Small numbers for what is measured, written or trained; `texts` is filled in with a file.
SMALL = {
    "samples": 2,
    "sample_length": 4,
    "rank": 2,
    "self_texts": 2,
    "self_length": 4,
    "self_batch": 1,
    "max_new_tokens": 2,
    "length": 2,
    "taps": 2,
}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the stages that some methods need before them, and a file of texts."""
    folders = {}
    for name, method in (("dense", Full()), ("heads", HeadScale()), ("skills_of", SkillTraining(skills=2))):
        folders[name] = tmp_path_factory.mktemp(name)
        run = tiny.trainer(folders[name], method, steps=2)
        run.train()
        method.export(run.model, run.pretrained, folders[name])
    folders["texts"] = tmp_path_factory.mktemp("texts") / "texts.txt"
    folders["texts"].write_text("w3 w4 w5 w6\nw7 w8 w9\n")
    folders["reward"] = tmp_path_factory.mktemp("reward") / "reward.py"
    # Other answers, other rewards: where all are equal nothing is learned.
    folders["reward"].write_text("def spread(answer, example):\n    return sum(map(ord, answer))\n")
    return folders


def made(name: str, before: dict[str, Path]) -> Method:
    """A method with its defaults, but small."""
    kind = KINDS[name]
    values: dict[str, Any] = SMALL | {"texts": str(before["texts"]), "reward": f"{before['reward']}:spread"}
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})  # pyright: ignore[reportArgumentType]


def train(folder: Path, methods: Sequence[Method], before: dict[str, Path]) -> Trainer:
    """Two steps, on rows in pairs where the loss is one of pairs."""
    run = tiny.trainer(folder, *methods, steps=2, batch_size=2, token_budget=4096, learning_rate=1e-2)
    run.inputs = [{field: before[field] for field in method.stages} for method in methods]
    if any(method.replaces_loss for method in methods):
        single: Any = run.stream.row  # pyright: ignore[reportAttributeAccessIssue]

        def pair(index: int, epoch: int) -> list[Row]:
            row = replace(single(index, epoch), example=Example({"input": ""}, "w7", template=Template(stop=())))
            return [row, replace(row, tokens=(*row.tokens[:-1], 7))]

        run.stream = replace(run.stream, row=pair)  # pyright: ignore[reportArgumentType]
    # Without the checkpoints that a whole run writes: hundreds of pairs train here.
    training = Training(run)
    assert all(math.isfinite(training.step(step)["loss"]) for step in range(2))
    return run


def check_trains(folder: Path, names: Sequence[str], before: dict[str, Path]) -> None:
    """Two steps with finite losses that move whatever the optimizer has."""
    moved = []

    class Watch(Method):
        """Notes whether a step moved anything."""

        def after_backward(self, model: Any) -> None:
            self.before = [parameter.detach().clone() for parameter in model.parameters() if parameter.requires_grad]

        def after_step(self, model: Any) -> None:
            after = [parameter for parameter in model.parameters() if parameter.requires_grad]
            moved.append(any(not torch.equal(one, other) for one, other in zip(after, self.before, strict=True)))

    train(folder, [*(made(name, before) for name in names), Watch()], before)
    assert moved == [True, True]


@pytest.mark.parametrize("first", KINDS)
def test_each_pair_trains_or_is_refused_with_a_reason(first: str, tmp_path: Path, before: dict[str, Path]) -> None:
    pages = generator()
    for one, other in PAIRS:
        if one != first:
            continue
        reason = pages.refusal(one, other)
        if reason:
            assert len(reason) > 30, f"{one} and {other} are refused without a reason: {reason}"
            continue
        names = pages.composition(one, other).split("+")
        try:
            check_trains(tmp_path / f"{one}+{other}", names, before)
        except Exception as error:
            error.add_note(f"{'+'.join(names)} is not refused when it is planned, and fails")
            raise


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.stages and kind.moves_the_model])
def test_a_method_of_a_recipes_second_stage_joins_like_any_other(
    name: str, tmp_path: Path, before: dict[str, Path]
) -> None:
    for other, kind in KINDS.items():
        if not kind.chooses_parameters:
            check_trains(tmp_path / other, [name, other], before)

"""FTICL: which demonstrations are shown, what is learned of them, and what is said about rows that were cut."""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.tune import tune
from holdfast.prefix.model import PrefixModel
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.row import Row
from holdfast.stages.train import Train
from holdfast.tasks.sources import load_task
from holdfast.tasks.task_set import TaskRef
from tests.recipes.worlds import write_world
from tests.training import tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None)


def rows(world: Path, pass_: int = 0, **options: Any) -> list[Row]:
    """The rows of a pass in the order of the data; each is four tokens a demonstration, three of its own, target and end."""
    name = str(world / "copy")
    (stage,) = find_recipe("fticl")(RecipePlan("", (TaskRef(name),), {"model": options}))
    assert isinstance(stage, Train)
    loaded = tiny.pretrained()
    stream = stage._stream([load_task(name)], loaded, PrefixModel(loaded.model))
    return [row for index in range(24) for row in stream._rows(index, pass_)]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_same_first_demonstrations_stand_before_every_row_but_their_own(world: Path) -> None:
    found = rows(world)
    assert {row.tokens[:8] for row in found[2:]} == {found[2].tokens[:8]}
    assert found[0].tokens[:8] != found[2].tokens[:8]
    assert {len(row.tokens) for row in found} == {13}
    assert rows(world, pass_=1) == found


def test_sampled_demonstrations_differ_by_row_and_pass(world: Path) -> None:
    found = rows(world, sampling="sampled")
    assert len({row.tokens[:8] for row in found}) > 12
    assert rows(world, 1, sampling="sampled") != found


def test_the_loss_is_on_the_last_answer_or_on_all(world: Path) -> None:
    assert {tuple(row.labels) for row in rows(world)} == {(11, 12)}
    assert {tuple(row.labels) for row in rows(world, loss_on="all")} == {(3, 7, 11, 12)}


def test_truncation_takes_the_oldest_and_never_the_target_unless_it_is_asked_to(world: Path) -> None:
    whole = rows(world)
    for row, full in zip(rows(world, max_length=10), whole, strict=True):
        assert (row.tokens, row.labels, row.cut, row.lost) == (full.tokens[3:], [8, 9], 3, 0)
    for length, labels, lost in ((12, [11], 1), (11, [], 2), (5, [], 2)):
        for row, full in zip(rows(world, max_length=length, truncation="right"), whole, strict=True):
            assert (row.tokens, row.labels) == (full.tokens[:length], labels)
            assert (row.cut, row.lost) == (13 - length, lost)


@pytest.mark.parametrize(
    ("truncation", "target_cut", "said"),
    [
        ("input", 0.0, "100 % of 24 training rows were cut to fit"),
        (
            "right",
            1.0,
            "100 % of 24 training rows were cut to fit, 100 % lost tokens of their target and 0 % all of it",
        ),
    ],
)
def test_what_was_cut_is_reported(
    world: Path, tmp_path: Path, truncation: str, target_cut: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"model.steps": 1, "model.max_length": 12, "model.truncation": truncation, "model.validation_limit": 0}
    run = tune(str(world / "model"), str(world / "copy"), "fticl", shots=(0,), out=tmp_path / "run", **given)
    (stage,) = (run.folder / "stages").glob("model-*")
    result = json.loads((stage / "result.json").read_text())
    assert (result["truncated_share"], result["target_cut_share"], result["target_lost_share"]) == (
        1.0,
        target_cut,
        0.0,
    )
    assert said in " ".join((run.folder / "README.md").read_text().split())
    assert said in " ".join(run.page.read_text().split())
    heard = capsys.readouterr().err
    side = "beginning" if truncation == "input" else "end"
    assert (
        f"model: 100 % of 24 rows were cut to fit 12 tokens; the longest lost 1 tokens of its {side} (model.max_length=12"
        in heard
    )
    assert ("100 % lost tokens of their target" in heard) == (truncation == "right")


def test_a_batch_whose_targets_are_all_cut_stops_with_what_to_do(world: Path, tmp_path: Path) -> None:
    given = {"model.steps": 1, "model.max_length": 11, "model.truncation": "right"}
    with pytest.raises(ValueError, match=r"no row of the batch has a token to learn from.*raise model.max_length"):
        tune(str(world / "model"), str(world / "copy"), "fticl", shots=(0,), out=tmp_path / "run", **given)

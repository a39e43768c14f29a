"""The data of adaptive translation: twice the rows, a match that gives nothing away, and the loss on the new target alone."""

import json
from pathlib import Path

import pytest

from holdfast.api.tune import tune
from holdfast.curation.base import CurationContext
from holdfast.curation.nearest import Nearest
from holdfast.prefix.model import PrefixModel
from holdfast.recipes.assignments import nested
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.stages.train import Train
from holdfast.tasks.formats.write import read_rows, write_task
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.task_set import TaskRef
from holdfast.tasks.text.templates import asked_text, render
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny

pytest.importorskip("sklearn", reason="retrieval by words needs scikit-learn")
SENTENCES = (
    "the cat sleeps",
    "the cat is sleeping",
    "a train leaves",
    "the train has left",
    "snow falls",
    "The cat  sleeps",
)
TRAIN = tuple(Example({"input": text}, f"T {text}") for text in SENTENCES)
TASK = Task(
    "mt",
    {"train": TRAIN, "test": (Example({"input": "the cat slept"}, "T the cat slept"),)},
    Template("S: {{ input }}\nT:"),
)


def curated(context: CurationContext | None = None, **settings: object) -> list[Example]:
    return list(Nearest(**settings)(TRAIN, context or CurationContext(TASK)))  # pyright: ignore[reportArgumentType]


def test_every_example_stands_alone_and_behind_its_match() -> None:
    rows = curated()
    assert len(rows) == 2 * len(TRAIN)
    alone = [row for row in rows if row.origin.startswith("alone: ")]
    assert sorted(row.target for row in alone) == sorted(e.target for e in TRAIN)
    assert {row.demonstrations for row in alone} == {()}
    matches = {row.target: row.demonstrations[0].target for row in rows if row.demonstrations}
    assert matches["T a train leaves"] == "T the train has left"
    # Its own question in other letters is no match: the answer would be copied.
    assert matches["T the cat sleeps"] == matches["T The cat  sleeps"] == "T the cat is sleeping"
    assert rows == curated()
    assert rows != curated(CurationContext(TASK, seed=1))
    assert [len(row.demonstrations or ()) for row in curated(alone=False)] == [1] * len(TRAIN)


def test_below_the_threshold_an_example_stands_alone_twice() -> None:
    rows = curated(least=0.999)
    assert [row.demonstrations for row in rows] == [()] * 2 * len(TRAIN)
    assert sum(row.origin.startswith("unmatched: ") for row in rows) == len(TRAIN)


def test_no_match_is_what_the_run_is_measured_on() -> None:
    memory = Task(
        "memory", {"train": (*TASK.splits["test"], Example({"input": "one cat sleeps on"}, "T x"))}, TASK.template
    )
    rows = curated(CurationContext(TASK, others=(memory,)), pool="memory")
    assert {row.demonstrations[0].target for row in rows if row.demonstrations} == {"T x"}
    # Under another name of the field and another template it is the same question.
    renamed = tuple(Example({"text": e.fields["input"]}, e.target) for e in memory.splits["train"])
    other = Task("memory", {"train": renamed}, Template("Say: {{ text }}"))
    rows = curated(CurationContext(TASK, others=(other,)), pool="memory")
    assert {row.demonstrations[0].target for row in rows if row.demonstrations} == {"T x"}


def test_a_match_is_written_with_its_row_and_asked_by_its_template(tmp_path: Path) -> None:
    other = Task("memory", {"train": (Example({"text": "one cat sleeps on"}, "T x"),)}, Template("Say: {{ text }}"))
    rows = curated(CurationContext(TASK, others=(other,)), pool="memory")
    write_task(Task("mt", {"train": tuple(rows), "test": TASK.splits["test"]}, TASK.template), tmp_path)
    assert list(read_rows(tmp_path, "train")) == rows
    row = next(row for row in rows if row.demonstrations)
    assert (
        render(TASK.template, row, row.demonstrations or ()).prompt
        == f"Say: one cat sleeps on T x\n\n{asked_text(TASK.template, row)}"
    )


def test_a_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="nearest: mt: has 6 training examples to look for matches in, too few for 6"):
        curated(shots=6)
    with pytest.raises(ValueError, match="nearest: memory: has 0 training examples"):
        curated(CurationContext(TASK, others=(Task("memory", {"test": TRAIN}),)), pool="memory")


def test_a_run_trains_both_halves_with_the_loss_on_the_new_target(tmp_path: Path) -> None:
    world = write_world(tmp_path, goal=None)
    run = tune(
        str(world / "model"), str(world / "goal"), "full", "none", curate="nearest", shots=(0, 1), demonstrations="nearest",
        out=tmp_path / "run", **{key: value for key, value in QUICK.items() if key.startswith("model.")},
    )  # fmt: skip
    rows = [json.loads(line) for line in (run.folder / "data" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 48
    assert run.config["demonstrations"] == "nearest"
    shown = {score.shots: score.demonstrations for score in run.scores if score.variant == "tuned"}
    assert shown == {0: "none", 1: "the nearest to each item by words"}
    # The rows as the stage makes them: a match is read, and only the new target and its end token are predicted.
    task = load_task(str(world / "goal"))
    curated_task = Task(task.name, {**task.splits, "train": read_rows(run.folder / "data", "train")}, task.template)
    (stage,) = find_recipe("full")(RecipePlan(str(world / "model"), (TaskRef(str(world / "goal")),), nested({})))
    assert isinstance(stage, Train)
    loaded = tiny.pretrained()
    made = stage.sample([curated_task], loaded, PrefixModel(loaded.model), 24)
    assert {len(row.labels) for row in made} == {2}
    assert len({len(row.tokens) for row in made}) == 2


def test_fticl_retrieves_by_a_setting(tmp_path: Path) -> None:
    world = write_world(tmp_path, goal=None)
    plan = RecipePlan(str(world / "model"), (TaskRef(str(world / "goal")),), nested({"model.sampling": "nearest"}))
    (stage,) = find_recipe("fticl")(plan)
    assert isinstance(stage, Train)
    loaded = tiny.pretrained()
    task = load_task(str(world / "goal"))
    rows = stage.sample([task], loaded, PrefixModel(loaded.model), 8)
    assert [row.tokens for row in rows] == [
        row.tokens for row in stage.sample([task], loaded, PrefixModel(loaded.model), 8)
    ]
    assert len({row.tokens[:4] for row in rows}) > 1  # Not the same first ones before every row.
    with pytest.raises(ValueError, match=r"model\.sampling='near': 'near' is no choice of demonstrations; write first"):
        find_recipe("fticl")(RecipePlan("m", (TaskRef("t"),), nested({"model.sampling": "near"})))

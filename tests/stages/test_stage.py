"""Stages: dependencies first, finished ones skipped, the completion mark last, the folder named by the configuration."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pydantic
import pytest

from holdfast.methods.base import Context, Method
from holdfast.methods.full import Full
from holdfast.stages.stage import MARK, Inputs, Stage, dependencies, digest, execute, folder_of
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.training.settings import TrainSettings
from tests.recipes.worlds import write_world
from tests.training import tiny


@dataclass(frozen=True)
class Write(Stage):
    text: str = ""
    before: "Write | None" = None

    def run(self, folder: Path, inputs: Inputs) -> None:
        CALLS.append(self.name)
        start = (inputs["before"].folder / "text").read_text() if "before" in inputs else ""
        if self.text == "fail":
            raise ValueError("failed")
        (folder / "text").write_text(start + self.text)


CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def test_dependencies_run_first_and_hand_on_their_folder(tmp_path: Path) -> None:
    folder = execute(Write("second", "b", Write("first", "a")), tmp_path)
    assert (folder / "text").read_text() == "ab"
    assert CALLS == ["first", "second"]


def test_a_finished_stage_is_skipped_and_a_failed_one_is_not(tmp_path: Path) -> None:
    execute(Write("first", "a"), tmp_path)
    execute(Write("first", "a"), tmp_path)
    assert CALLS == ["first"]
    failing = Write("second", "fail", Write("first", "a"))
    for _ in range(2):
        with pytest.raises(ValueError, match="failed"):
            execute(failing, tmp_path)
    assert CALLS == ["first", "second", "second"]
    assert not (folder_of(failing, tmp_path) / MARK).exists()


@dataclass(frozen=True)
class Join(Stage):
    parts: tuple[Write, ...] = ()

    def run(self, folder: Path, inputs: Inputs) -> None:
        (folder / "text").write_text(
            "".join((inputs[f"parts.{i}"].folder / "text").read_text() for i in range(len(self.parts)))
        )


def test_a_field_may_hold_several_stages(tmp_path: Path) -> None:
    joined = Join("joined", (Write("first", "a"), Write("second", "b")))
    assert (execute(joined, tmp_path) / "text").read_text() == "ab"
    assert digest(joined) != digest(Join("joined", joined.parts[::-1]))


def test_the_hash_follows_the_configuration_of_the_stage_and_of_what_it_stands_on() -> None:
    first, other = Write("first", "a"), Write("first", "b")
    assert digest(first) == digest(Write("first", "a"))
    assert digest(Write("second", "x", first)) != digest(Write("second", "x", other))


@pytest.mark.parametrize("damage", ["text", "gone"])
def test_a_damaged_finished_stage_is_noticed(tmp_path: Path, damage: str) -> None:
    """The bug: weights cut short by a full disk are copied into the run, or trained on from, because the mark is there."""
    first = Write("first", "a")
    path = execute(first, tmp_path) / "text"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("b")
    with pytest.raises(ValueError, match=r"text: is .*; remove .*first-.* and give the command again"):
        execute(Write("second", "b", first), tmp_path)
    assert CALLS == ["first"]


def test_a_finished_stage_of_an_earlier_version_stays_valid(tmp_path: Path) -> None:
    """Its mark holds no hashes."""
    folder = execute(Write("first", "a"), tmp_path)
    mark = json.loads((folder / MARK).read_text())
    assert list(mark.pop("files")) == ["text"]
    (folder / MARK).write_text(json.dumps(mark))
    execute(Write("first", "a"), tmp_path)
    assert CALLS == ["first"]


def test_the_weights_along_the_way_may_go(tmp_path: Path) -> None:
    """They are removed once they were measured."""
    folder = execute(Points("course"), tmp_path)
    (folder / "points" / "1.safetensors").unlink()
    assert execute(Points("course"), tmp_path) == folder


@dataclass(frozen=True)
class Points(Stage):
    def run(self, folder: Path, inputs: Inputs) -> None:
        (folder / "points").mkdir()
        (folder / "points" / "1.safetensors").write_bytes(b"weights")


@pydantic.dataclasses.dataclass
class Masked(Method):
    """A method that needs the result of a stage."""

    mask: pydantic.InstanceOf[Write] | None = None

    def prepare(self, context: Context) -> None:
        CALLS.append((context.inputs["mask"] / "text").read_text())
        raise KeyboardInterrupt


def test_a_stage_in_the_field_of_a_method_runs_first_and_the_method_is_given_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.models.resolve.load", lambda *args, **options: tiny.pretrained())
    world = write_world(tmp_path, pick=["w3", "w4"])
    task = TaskRef(str(world / "pick"))
    stage = Train("model", "tiny", (task,), (Full(), Masked(Write("mask", "kept"))), TrainSettings(steps=1))
    assert list(dependencies(stage)) == ["methods.1.mask"]
    with pytest.raises(KeyboardInterrupt):
        execute(stage, tmp_path / "stages")
    assert CALLS == ["mask", "kept"]
    assert digest(stage) != digest(replace(stage, methods=(Full(), Masked(Write("mask", "other")))))

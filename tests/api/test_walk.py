"""The ways through the code are short enough to be read in one sitting.

Counted are the files of this library whose functions are on the stack, as a debugger would show them, at each stop of a way.
"""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaModel

import holdfast
from holdfast.cli import app
from holdfast.report.run import page
from holdfast.results import cell_answers
from holdfast.stages import training_rows
from holdfast.training import loss
from tests.recipes.worlds import write_world

PACKAGE = Path(holdfast.__file__).parent
Stack = list[tuple[str, str]]  # file and function of each frame of ours, the outermost first
TRIES = {"_probe", "agrees", "capability"}  # forwards that try what the model can do are longer ways, gone once a model


def stack() -> Stack:
    frames = [(Path(frame.filename), frame.name) for frame in traceback.extract_stack()]
    return [(path.relative_to(PACKAGE).as_posix(), name) for path, name in frames if path.is_relative_to(PACKAGE)]


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stack]:
    """The shortest stack at each stop of `holdfast tune --method full`."""
    shortest: dict[str, Stack] = {}

    def watch(patch: pytest.MonkeyPatch, owner: Any, name: str, **stops: Callable[[set[str], set[str]], bool]) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            frames = stack()
            files, functions = {file.split("/")[0] for file, _ in frames}, {function for _, function in frames}
            for stop, reached in stops.items():
                if reached(files, functions) and not TRIES & functions:
                    shortest[stop] = min(shortest.get(stop, frames), frames, key=len)
            return original(*arguments, **options)

        patch.setattr(owner, name, watched)

    world, run = write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None), "run"
    arguments = ["tune", world / "model", world / "pick", "--method", "full", "--general", world / "copy", "--limit", 2]
    arguments += ["--out", world / run, "--set", "model.steps=1", "--set", "model.token_budget=4096"]
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, Path, "read_text", reading=lambda files, _: "tasks" in files)
        watch(patch, training_rows, "encode", encoding=lambda _, functions: "step" in functions)
        watch(
            patch, LlamaModel, "forward",
            training=lambda _, functions: "_accumulate" in functions, asking=lambda files, _: "evaluation" in files,
        )  # fmt: skip
        watch(patch, loss, "token_loss", loss=lambda *_: True)
        watch(patch, cell_answers, "single", scoring=lambda *_: True)
        watch(patch, page, "render", drawing=lambda *_: True)
        patch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            app.main()
    assert end.value.code in (0, None)
    return shortest


def files(walks: dict[str, Stack], *stops: str) -> list[str]:
    visited: dict[str, None] = {}
    for stop in stops:
        visited |= dict.fromkeys(file for file, _ in walks[stop])
    return list(visited)


@pytest.mark.parametrize("stop", ["training", "loss"])
def test_forward_and_loss_are_at_most_thirteen_calls_away_from_tune(stop: str, walks: dict[str, Stack]) -> None:
    # The calls before `tune` parse the command line. One is the price of a training that is built before it runs: its state comes from one
    # constructor, and the parts of it can be looked at by themselves.
    begin = walks[stop].index(("api/tune.py", "tune"))
    assert len(walks[stop][begin:]) <= 13, "\n".join(map(str, walks[stop]))


def test_a_task_reaches_the_loss_through_at_most_eighteen_files_of_training(walks: dict[str, Stack]) -> None:
    visited = files(walks, "reading", "encoding", "training", "loss")
    # Three of them were parts of others before: a request of `tune`, the rows of a stage, the forwards of a step.
    assert len(visited) <= 18, "\n".join(visited)


def test_a_request_becomes_a_score_on_the_page_through_at_most_sixteen_files(walks: dict[str, Stack]) -> None:
    visited = files(walks, "asking", "scoring", "drawing")
    assert len(visited) <= 16, "\n".join(visited)

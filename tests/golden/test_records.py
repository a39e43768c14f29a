"""Golden runs and golden losses: what a change must leave as it is, or explain. And that the records would notice a change.

`python -m tests.golden.record` writes the records anew and prints what moved; `python -m tests.golden.record NAME` only that one.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.golden import recipes
from tests.golden.cases import CASES, Case
from tests.golden.record import HERE, STRAYS, TOLERANCE, compare, explain, read, record, write
from tests.golden.worlds import write_world

AGAIN = "if it should have: `python -m tests.golden.record {}`, and say in the commit which part moved and why"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name, marks=[pytest.mark.slow] if c.slow else []) for c in CASES]
)
def test_a_run_ends_with_the_recorded_numbers(case: Case, world: Path) -> None:
    """Losses, weights, every score with its interval, the evaluations that ran, and the names of the stages' folders."""
    missing = [name for name in case.needs if not (world / name).exists()]
    if missing:
        pytest.skip(f"../shared is not here, so there is no {', '.join(missing)}")
    moved = compare(read(HERE / f"{case.name}.json"), record(case, world))
    assert not moved, explain(case.name, moved) + "\n" + AGAIN.format(case.name)


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_trains_with_the_recorded_losses(name: str, world: Path) -> None:
    moved = compare(read(recipes.HERE / f"{name}.json"), recipes.record(name, world))
    assert not moved, explain(name, moved) + "\n" + AGAIN.format(name)


def test_no_record_is_left_of_what_is_gone() -> None:
    assert {path.stem for path in HERE.glob("*.json")} == {case.name for case in CASES}
    assert {path.stem for path in recipes.HERE.glob("*.json")} == set(recipes.names())


STEP = torch.optim.AdamW.step


def ascent(optimizer: torch.optim.AdamW, closure: None = None) -> None:
    """Step with the sign of every gradient flipped."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.neg_()
    STEP(optimizer)


@pytest.mark.parametrize("step", [lambda *_: None, ascent], ids=["no step", "flipped sign"])
@pytest.mark.parametrize("name", recipes.names())
def test_golden_losses_notice_a_missing_step_and_a_flipped_sign(
    name: str, step: Callable[..., None], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every stage, and on another class of machine too: the losses move by more than rounding may."""
    old = read(recipes.HERE / f"{name}.json")["losses"]
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    try:
        new = recipes.record(name, world)["losses"]
    except ValueError as error:
        if "has the weights of the base" not in str(error):
            raise
        return  # a recipe that goes on from a tuned model notices by itself that nothing was tuned
    for key in (key for key in old if key.endswith(" loss")):
        moved = [abs(one - other) for one, other in zip(old[key], new[key], strict=True)]
        assert max(moved) > 2 * TOLERANCE, f"{name}, {key}: moved by {max(moved)} only"
        assert sum(size > TOLERANCE for size in moved) > STRAYS * len(moved), (
            f"{name}, {key}: moved at a few steps only"
        )


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    return read(HERE / "full.json")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("digests", lambda part: part.pop()),
        ("evaluations", lambda part: part.append("evaluate-base: base copy general 4 shots: 8")),
        ("losses", lambda part: part["model loss"].__setitem__(19, part["model loss"][19] + 1e-3)),
        ("weights", lambda part: part.update({"model/model.safetensors": "0" * 16})),
        ("scores", lambda part: next(iter(part.values())).update(value=0.123)),
        ("intervals", lambda part: next(iter(part.values())).update(low=-0.5)),
    ],
)
def test_a_difference_is_found_and_names_its_part(
    part: str, change: Callable[[Any], Any], full: dict[str, Any]
) -> None:
    changed = copy.deepcopy(full)
    change(changed[part])
    assert list(compare(full, changed)) == [part]
    assert f"full: {part} moved" in explain("full", compare(full, changed))


def test_another_class_of_machine_is_compared_within_the_tolerance(full: dict[str, Any]) -> None:
    other: dict[str, Any] = copy.deepcopy(full) | {"machine": "another processor", "weights": {}}
    losses = other["losses"]["model loss"]
    losses[0] += TOLERANCE / 3
    strays = int(STRAYS * len(losses))
    for step in range(strays):
        losses[step] += 3 * TOLERANCE
    assert compare(full, other) == {}
    losses[strays] += 2 * TOLERANCE
    assert list(compare(full, other)) == ["losses"]
    shorter: dict[str, Any] = copy.deepcopy(full) | {"machine": "another processor"}
    del shorter["losses"]["model loss"][-1]
    assert list(compare(full, shorter)) == ["losses"]
    assert list(compare(full, other | {"machine": full["machine"]})) == ["losses", "weights"]


def test_a_record_that_is_not_there_yet_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"run `python -m tests.golden.record full\+mine`"):
        read(tmp_path / "full+mine.json")


def test_a_record_reads_as_it_was_written(full: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "full.json", full)
    assert (tmp_path / "full.json").read_bytes() == (HERE / "full.json").read_bytes()
    assert read(tmp_path / "full.json") == full

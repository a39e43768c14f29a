"""`import holdfast`: every public name is there, says what it is, and costs nothing before it is used."""

import inspect
import re
import subprocess
import sys
import textwrap
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.studies.plan import Plan
from holdfast.tasks.sources import arguments


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    member = getattr(holdfast, name)
    assert name in dir(holdfast)
    text = inspect.getdoc(member) or ""
    assert len(text) > 20
    assert not text.startswith(f"{name}("), "the signature that dataclasses write for want of a docstring"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fine_tune'"):
        _ = holdfast.fine_tune  # pyright: ignore[reportAttributeAccessIssue]


def test_the_first_loop_prints_rows_that_can_be_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bug: ten rows of one task and prompt, of several metrics that it did not print."""
    from tests.report import example_run

    example = inspect.cleandoc(holdfast.__doc__ or "")
    loop = re.search(r"^    for score in .*?\n(?=    \S)", example, re.MULTILINE | re.DOTALL)
    assert loop is not None
    run = holdfast.Run(example_run.make(tmp_path))
    exec(textwrap.dedent(loop.group()), {"run": run})  # what a reader copies
    rows = [tuple(line.split()[:4]) for line in capsys.readouterr().out.splitlines()]
    # Behind the prompt and without it, at two numbers of demonstrations, each task by its own metric alone.
    assert len(set(rows)) == len(rows) == 4 * len(example_run.TASKS)
    assert {row[2] for row in rows} == {made.metric for made in example_run.TASKS}


def test_settings_under_the_command_lines_name_are_answered_with_pythons() -> None:
    with pytest.raises(ValueError, match=r"^set: .* such as model_=\{'steps': 200\}"):
        holdfast.tune("lab", "lab:kind", set={"model.steps": 3})
    with pytest.raises(ValueError, match=r"\(in Python model_=\{'steps': 3\}\)"):
        holdfast.tune("lab", "lab:kind", steps=3)


def test_a_study_names_every_field_of_its_plan_with_the_same_default_and_a_slip_with_its_neighbour(
    tmp_path: Path,
) -> None:
    parameters = inspect.signature(holdfast.study).parameters
    plan = {f.name: f for f in fields(Plan)}
    assert parameters.keys() >= plan.keys() - {"arms"}
    typical = asdict(Plan("model", {"full": None}, ["task"]))
    for name in plan.keys() - {"model", "arms", "targets"}:
        default = parameters[name].default
        assert (default or None) == (typical[name] or None), name
    for slip, meant in (("seed", "seeds"), ("analysis", "analyses"), ("job", "jobs"), ("method", "methods")):
        wrong: Any = {slip: 1}
        with pytest.raises(ValueError, match=f"^unknown argument of study: '{slip}'; did you mean '{meant}'"):
            holdfast.study("lab", "full", "lab:kind", out=tmp_path / "none", **wrong)
    assert not (tmp_path / "none").exists()


def test_importing_the_package_does_not_wait_for_torch() -> None:
    code = "import sys, holdfast; dir(holdfast); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_name_a_path_or_several_of_them_are_tasks() -> None:
    """The bug: one name alone is a sequence too, of its letters."""
    assert arguments("lab:kind") == ("lab:kind",)
    assert arguments(Path("data/mine")) == (str(Path("data/mine")),)
    assert arguments([Path("a"), "lab:kind"]) == ("a", "lab:kind")

"""`holdfast methods`: what was measured best stands first, all of it fits the terminal, and a slip is named."""

import json
import re
from pathlib import Path

import pytest

from holdfast.cli.listings import GROUPS, MEASURED, RECOMMENDED
from holdfast.plugins import METHODS, RECIPES, techniques
from tests.cli.commands import Commands

EVIDENCE = Path(__file__).parents[2] / "docs" / "questions" / "choosing-a-method.md"


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_listing_is_as_wide_as_the_terminal(
    columns: int, holdfast: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = holdfast("methods").out.splitlines()
    assert max(map(len, lines)) <= columns
    assert max(map(len, lines)) > columns - 12, "the width is not used"


def test_what_was_measured_best_stands_first_and_everything_stands_once(holdfast: Commands) -> None:
    records = [json.loads(line) for line in holdfast("methods", "--json").out.splitlines()]
    names = [record["name"].removeprefix("+") for record in records]
    assert sorted(names) == sorted({**techniques(METHODS), **techniques(RECIPES)})
    assert [record["name"] for record in records[: len(RECOMMENDED)]] == list(RECOMMENDED)
    groups = list(dict.fromkeys(record["group"] for record in records))
    assert groups == [MEASURED, *GROUPS.values()]
    shown = holdfast("methods").out
    assert [shown.index(" ".join(group.split()[:4])) for group in groups] == sorted(
        shown.index(" ".join(group.split()[:4])) for group in groups
    )


def test_every_figure_beside_a_method_is_in_the_page_of_the_evidence() -> None:
    evidence = EVIDENCE.read_text()
    for name, text in RECOMMENDED.items():
        assert name.lstrip("+") in evidence
        for figure in re.findall(r"\d[\d.e-]*", text):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", evidence), f"{name}: {figure}"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("full+kl", "full+kl_base"), ("promot+self-replay", "promot+self_replay"), ("lora+l2", "lora+l2_sp"), ("kl", "kl_base"),
     ("promt", "promot")],
)  # fmt: skip
def test_a_slip_is_answered_with_the_whole_name(name: str, meant: str, holdfast: Commands) -> None:
    for command in (["methods", name], ["tune", "lab", "lab:kind", "--method", name]):
        assert holdfast(*command).error == f"holdfast: unknown method {name!r}; did you mean {meant!r}?"


def test_a_name_like_no_other_is_answered_with_those_that_join(holdfast: Commands) -> None:
    error = holdfast("methods", "full+xyzzy").error
    assert "kl_base" in error
    assert "lora" not in error, "no method that cannot join"


OWN = """
from pydantic import Field
from pydantic.dataclasses import dataclass
from holdfast.edits.base import Edit
from holdfast.methods.l2_sp import L2Sp

@dataclass
class Mine(L2Sp):
    \"\"\"Pull harder.\"\"\"

    extra: int = Field(default=7, description="what is added")

@dataclass(frozen=True)
class Half(Edit):
    \"\"\"Halve.\"\"\"

    by: float = Field(default=0.5, description="share that stays")

    def __call__(self, base, tuned, location): ...
"""


def test_a_class_of_a_users_file_is_explained_as_one_of_the_folder(holdfast: Commands, tmp_path: Path) -> None:
    """With inherited fields, alone and beside another, and for every family."""
    path = tmp_path / "own.py"
    path.write_text(OWN)
    for name in (f"{path}:Mine", f"full+{path}:Mine", f"promot+{path}:Mine"):
        shown = holdfast("methods", name).out
        assert "model.extra=7 " in shown
        assert "model.strength=0.01 " in shown
        assert f"--method {name if '+' in name else f'full+{name}'} " in shown
    assert " ".join(holdfast("methods", f"{path}:Mine").out.split()).startswith(f"{path}:Mine: Pull harder.")
    (record,) = map(json.loads, holdfast("edits", f"{path}:Half", "--json").out.splitlines())
    assert record["stages"][0]["settings"][0]["meaning"] == "share that stays"
    assert record["example"].endswith(f"--edit {path}:Half --set edit.by=0.5")
    assert "is no decoding" in holdfast("decodings", f"{path}:Half").error

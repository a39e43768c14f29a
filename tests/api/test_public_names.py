"""`import holdfast`: every public name is there, says what it is, and costs nothing before it is used."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
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


def test_importing_the_package_does_not_wait_for_torch() -> None:
    code = "import sys, holdfast; dir(holdfast); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_name_a_path_or_several_of_them_are_tasks() -> None:
    """The bug: one name alone is a sequence too, of its letters."""
    assert arguments("lab:kind") == ("lab:kind",)
    assert arguments(Path("data/mine")) == (str(Path("data/mine")),)
    assert arguments([Path("a"), "lab:kind"]) == ("a", "lab:kind")

"""A command that is killed at any moment and given again leaves, bit by bit, what an uninterrupted one does."""

import os
from pathlib import Path

import pytest

from tests.faults.kills import SHARES, Runner, campaign, content

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kills need fork")


def test_an_edit_that_is_killed_leaves_what_a_whole_one_does(made: Runner) -> None:
    tally = campaign(made, "edit", kills=6, seed=1)
    assert tally.kills >= 6
    assert tally.different == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_a_killed_command_ends_bit_identical(made: Runner, name: str) -> None:
    tally = campaign(made, name, kills=round(int(os.environ.get("HOLDFAST_KILLS", "40")) * SHARES[name]), seed=2)
    assert tally.different == []
    assert tally.left == set(), "unfinished files stay behind"


def test_a_byte_that_differs_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.safetensors").write_bytes(b"abc")
    (tmp_path / "a" / "log.jsonl").write_text('{"loss": 1.5, "tokens_per_second": 3.0}\n')
    before = content(tmp_path / "a")
    (tmp_path / "a" / "log.jsonl").write_text('{"loss": 1.5, "tokens_per_second": 4.0}\n')
    assert content(tmp_path / "a") == before, "times differ"
    (tmp_path / "a" / "log.jsonl").write_text('{"loss": 1.6, "tokens_per_second": 3.0}\n')
    assert content(tmp_path / "a") != before
    (tmp_path / "a" / "log.jsonl").write_text('{"loss": 1.5, "tokens_per_second": 3.0}\n')
    (tmp_path / "a" / "model.safetensors").write_bytes(b"abd")
    assert content(tmp_path / "a") != before

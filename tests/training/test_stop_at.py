"""Training that ends at a validation score: when, with which weights, and that it stays ended."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.methods.full import Full
from holdfast.training import checkpoint
from holdfast.training.look import Unit
from tests.training import tiny


def stopping(folder: Path, values: list[float], **settings) -> tuple:
    """A trainer whose validation gives these values in turn, and the steps at which it was asked."""
    given: dict[str, Any] = {"steps": 10, "save_every": 2} | settings
    made = tiny.trainer(folder, Full(), **given)
    left, asked = list(values), []

    def validate(model) -> float:
        asked.append(tiny.weights(made))
        return left.pop(0)

    made.validate = validate
    return made, asked


def test_it_ends_at_the_first_check_that_reaches_the_score(tmp_path: Path) -> None:
    """Exactly the score is enough (the bug: `>` for `>=`), and it is looked at every `save_every` steps."""
    made, asked = stopping(tmp_path, [0.2, 0.6, 0.9, 0.9, 0.9], stop_at=0.6)
    progress = made.train()
    assert (progress.step, progress.best, progress.best_step) == (4, 0.6, 4)
    assert len(tiny.losses(tmp_path)) == 4
    assert all(torch.equal(asked[-1][name], kept) for name, kept in tiny.weights(made).items())  # those that reached it


def test_a_person_reads_validation_in_points_and_the_log_holds_the_unit_of_stop_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = tiny.trainer(tmp_path, Full(), steps=4, save_every=2)
    trainer.quiet, trainer.unit = False, Unit("exact_match", 100.0)
    scores = iter([0.125, 0.625])
    trainer.validate = lambda _: next(scores)
    trainer.train()
    assert "  validation 12.5" in capsys.readouterr().err
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["validation"] for r in records if r.get("metric") == "exact_match"] == [0.125, 0.625]


@pytest.mark.parametrize("stop_at", [None, 0.7])
def test_it_goes_on_where_the_score_is_not_reached(tmp_path: Path, stop_at: float | None) -> None:
    made, asked = stopping(tmp_path, [0.2, 0.6, 0.3, 0.3, 0.3], stop_at=stop_at)
    assert made.train().step == 10
    assert all(torch.equal(asked[1][name], kept) for name, kept in tiny.weights(made).items())  # the best, not the last


def test_the_first_steps_are_those_of_the_whole_training(tmp_path: Path) -> None:
    """The schedule is that of all steps: stopping must not be another training. The bug: rates planned for fewer steps."""
    stopping(tmp_path / "stopped", [0.9], stop_at=0.5, schedule="cosine")[0].train()
    stopping(tmp_path / "whole", [0.9] * 5, schedule="cosine")[0].train()
    assert tiny.losses(tmp_path / "stopped") == tiny.losses(tmp_path / "whole")[:2]


def test_what_has_ended_stays_ended(tmp_path: Path) -> None:
    """Killed after the last save: the goal is in the checkpoint, so nothing more is trained. The bug: only looking after a check."""
    stopping(tmp_path, [0.9], stop_at=0.5)[0].train()
    again, asked = stopping(tmp_path, [], stop_at=0.5)
    assert again.train().step == 2
    assert asked == []
    assert len(tiny.losses(tmp_path)) == 2


def test_points_beyond_the_end_do_not_exist(tmp_path: Path) -> None:
    made, _ = stopping(tmp_path, [0.9], stop_at=0.5, curve=3, save_every=4)
    made.train()
    assert made.settings.points == [3, 5, 10]
    assert checkpoint.snapshot_steps(tmp_path) == [3]

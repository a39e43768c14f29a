"""`--set model.keep_floor=0.95`: only weights that keep enough of the general tasks may be kept, and the best of these are."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import holdfast
from holdfast.methods.full import Full
from holdfast.training.look import GIVE_UP
from tests.training import tiny


def train(folder: Path, scores: dict[int, float], kept: dict[int, float], floor: float | None) -> tuple[Any, list[Any]]:
    """Eight steps with a look at every second; both numbers of a look are given by its step."""
    trainer = tiny.trainer(folder, Full(), steps=8, save_every=2, keep_floor=floor)
    steps = iter([0, 2, 4, 6, 8] if floor is not None else [2, 4, 6, 8])
    seen: list[int] = []

    def validate(_: Any) -> float:
        seen.append(next(steps))
        return scores[seen[-1]]

    trainer.validate = validate
    trainer.retention = None if floor is None else (lambda _: kept[seen[-1]])
    return trainer.train(), seen


SCORES = {0: 0.1, 2: 0.5, 4: 0.7, 6: 0.9, 8: 0.8}
FALLING = {0: 1.0, 2: 0.98, 4: 0.95, 6: 0.7, 8: 0.6}


def test_the_best_score_above_the_floor_is_kept_and_not_the_best_of_all(tmp_path: Path) -> None:
    assert train(tmp_path / "floor", SCORES, FALLING, 0.95)[0].best_step == 4
    assert train(tmp_path / "none", SCORES, FALLING, None)[0].best_step == 6


def test_where_nothing_keeps_enough_the_model_is_as_it_was(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, Full(), steps=8, save_every=2, keep_floor=0.95)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    scores, kept = iter([0.1, 0.9, 0.9, 0.9]), iter([1.0, 0.2, 0.2, 0.2])
    trainer.validate, trainer.retention = (lambda _: next(scores)), (lambda _: next(kept))
    assert trainer.train().best_step == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.model.state_dict().items())


def test_training_ends_where_three_looks_in_a_row_are_below(tmp_path: Path) -> None:
    broken = {0: 1.0, 2: 0.1, 4: 0.1, 6: 0.1}
    result, seen = train(tmp_path / "broken", SCORES, broken, 0.95)
    assert (result.step, len(seen), result.broken) == (6, 1 + GIVE_UP, GIVE_UP)
    # One look above it in between, and training goes on.
    result, _ = train(tmp_path / "again", SCORES, broken | {4: 0.96, 8: 0.1}, 0.95)
    assert (result.step, result.best_step) == (8, 4)


def test_a_run_keeps_what_it_promises_and_says_the_rule_on_its_page(tmp_path: Path) -> None:
    """Full fine-tuning on the lab forgets all of these tasks within 40 steps."""
    settings: dict[str, Any] = {"model.steps": 40, "model.learning_rate": 3e-3, "model.save_every": 3}
    run = holdfast.tune(
        "lab", "lab:elicit-sentiment", "full", ["lab:kind", "lab:count"], shots=(0,), limit=20, out=tmp_path / "run",
        **settings, **{"model.keep_floor": 0.9, "model.validation_limit": 20},
    )  # fmt: skip
    records = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    looks = {r["step"]: r for r in records if "retention" in r}
    (rule,) = [r["kept_by"] for r in records if "kept_by" in r]
    step = int(rule.split("weights of step ")[1].split()[0])
    assert looks[step]["retention"] >= 0.9
    assert {r["metric"] for r in looks.values()} == {"exact_match"}
    assert "Validation exact_match, points of 100" in run.page.read_text()
    assert looks[step]["validation"] == max(r["validation"] for r in looks.values() if r["retention"] >= 0.9)
    assert max(looks) < 40, "it is broken long before, so that training ends early"
    assert "best target score among looks that keep 90 %" in run.page.read_text()
    tuned = [s.value for s in run.scores if s.variant == "tuned" and s.role == "general" and s.metric == "exact_match"]
    assert min(tuned) > 0.5, "without the floor both are 0"


def test_a_floor_without_general_tasks_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.keep_floor=0\.9: there is no general task to keep"):
        holdfast.tune("lab", "lab:kind", "full", "none", out=tmp_path / "run", model_={"keep_floor": 0.9})
    assert not (tmp_path / "run").exists()

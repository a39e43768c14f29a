"""Numbers that are not finite end a run in one line: before a step is taken, before anything is written, before anything is marked."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.stages.stage import Inputs
from holdfast.stages.train import Train
from holdfast.tasks.task_set import TaskRef
from holdfast.training.settings import TrainSettings
from tests.training import tiny


class Root(Method):
    """The distance to the start from the `step`-th step on: 0 there at first, with a slope of 0 / 0."""

    def __init__(self, step: int) -> None:
        self.step, self.taken = step, 0

    def penalty(self, model: Any, rows: Any, output: Any) -> torch.Tensor | None:
        if self.taken + 1 != self.step:
            return None
        return sum(((p - p.detach()).square().sum() for p in model.model.parameters()), torch.zeros(())).sqrt()

    def after_step(self, model: Any) -> None:
        self.taken += 1


class Spoil(Method):
    """One weight becomes infinite after a step, too late for any loss to tell."""

    def __init__(self, step: int) -> None:
        self.left = step

    def after_step(self, model: Any) -> None:
        self.left -= 1
        if self.left == 0:
            with torch.no_grad():
                next(model.model.parameters())[3, 0] = float("inf")


def records(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log, by a reader that knows no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in (folder / "log.jsonl").read_text().splitlines() if line]


@pytest.mark.parametrize("step", [1, 4, 6], ids=["first", "between", "last"])
def test_a_gradient_that_is_not_finite_behind_a_finite_loss_stops_before_its_step(tmp_path: Path, step: int) -> None:
    run = tiny.trainer(tmp_path, Full(), Root(step))
    says = rf"model: the gradient of step {step} is not finite .*tiny/train\[\d\].*smaller model.learning_rate \(it was 0.01\)"
    with pytest.raises(ValueError, match=says):
        run.train()
    assert all(bool(p.isfinite().all()) for p in run.model.parameters())
    assert [line["step"] for line in records(tmp_path)] == list(range(1, step))


@pytest.mark.parametrize("step", [3, 6], ids=["saved", "last"])
def test_weights_that_are_not_finite_are_not_written(tmp_path: Path, step: int) -> None:
    run = tiny.trainer(tmp_path, Full(), Spoil(step))
    with pytest.raises(ValueError, match=rf"after step {step} the weights of model.model.embed_tokens.weight are not"):
        run.train()
    assert not (tmp_path / f"checkpoint-{step}").exists()
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_point_of_the_curve_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="after step 2 the weights"):
        tiny.trainer(tmp_path, Full(), Spoil(2), steps=4, save_every=4, curve=2).train()
    assert not (tmp_path / "points").exists()


def test_a_validation_score_that_is_not_a_number_chooses_nothing(tmp_path: Path) -> None:
    run = tiny.trainer(tmp_path, Full())
    run.validate = lambda model: float("nan")
    with pytest.raises(ValueError, match="validation score after step 3 is nan"):
        run.train()
    assert len(records(tmp_path)) == 3
    assert not list(tmp_path.glob("best*"))


def test_the_stage_exports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way that `tune` goes: a stage with such a gradient in its last step leaves neither model nor result."""
    data = tmp_path / "task"
    data.mkdir()
    for split in ("train", "test"):
        text = f'{{"input": "w3 {split}", "target": "w5"}}\n{{"input": "w6 {split}", "target": "w8"}}\n'
        (data / f"{split}.jsonl").write_text(text)
    monkeypatch.setattr("holdfast.models.resolve.load", lambda *args, **options: tiny.pretrained())
    stage = Train("model", "tiny", (TaskRef(str(data)),), (Full(), Root(2)), TrainSettings(steps=2, batch_size=2))
    folder = tmp_path / "stage"
    folder.mkdir()
    with pytest.raises(ValueError, match="gradient of step 2 is not finite"):
        stage.run(folder, Inputs())
    assert {path.name for path in folder.iterdir()} <= {"log.jsonl"}


@pytest.mark.parametrize(("rate", "diverges"), [(30.0, True), (1e-2, False)])
def test_a_run_whose_loss_rises_says_at_its_end_that_it_diverged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: float, diverges: bool
) -> None:
    run = tiny.trainer(tmp_path, Full(), steps=20, learning_rate=rate)
    run.quiet = False
    run.train()
    rose = re.findall(
        r"the loss rose from (\S+) to (\S+): .* model\.learning_rate \(it was 30\)", capsys.readouterr().err
    )
    assert len(rose) == diverges
    if diverges:
        losses = tiny.losses(tmp_path)
        assert float(rose[0][0]) == pytest.approx(losses[0], rel=1e-2)
        assert float(rose[0][1]) > 2 * losses[0]

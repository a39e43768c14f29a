"""A killed run goes on bitwise as if nothing had happened; and forgetting any piece of its state would be seen."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.training import checkpoint, loop
from tests.training import tiny


@dataclass
class Count(Method):
    """A method with a state: its penalty grows with the steps it has seen."""

    seen: int = 0

    def penalty(self, model: Any, rows: Any, output: Any) -> torch.Tensor:
        return 1e-3 * self.seen * sum((p.square().sum() for p in model.model.parameters()), torch.zeros(()))

    def after_step(self, model: Any) -> None:
        self.seen += 1

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class Kill(Method):
    """The process dies after a step."""

    def __init__(self, after: int) -> None:
        self.left = after

    def after_step(self, model: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("killed")


def whole(folder: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    run = tiny.trainer(folder, Full(), Count(), Method(), dropout=0.1)
    run.train()
    return tiny.losses(folder), tiny.weights(run)


def killed_and_resumed(folder: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Steps 1 to 3, a checkpoint, death in step 5; then a process that knows nothing takes over."""
    with pytest.raises(RuntimeError, match="killed"):
        tiny.trainer(folder, Full(), Count(), Kill(4), dropout=0.1).train()
    torch.manual_seed(12345)
    run = tiny.trainer(folder, Full(), Count(), Method(), model=tiny.pretrained(seed=0), dropout=0.1)
    run.train()
    return tiny.losses(folder), tiny.weights(run)


def same(a: tuple[list[float], dict[str, torch.Tensor]], b: tuple[list[float], dict[str, torch.Tensor]]) -> bool:
    return a[0] == b[0] and all(torch.equal(a[1][name], b[1][name]) for name in a[1])


def test_a_resumed_run_is_bitwise_the_uninterrupted_one(tmp_path: Path) -> None:
    assert same(whole(tmp_path / "whole"), killed_and_resumed(tmp_path / "killed"))


def test_a_line_of_the_log_that_was_being_written_is_written_again(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        tiny.trainer(tmp_path / "killed", Full(), Kill(4)).train()
    with (tmp_path / "killed" / "log.jsonl").open("a") as file:
        file.write('{"stage": "model", "st')
    tiny.trainer(tmp_path / "killed", Full(), Method()).train()
    tiny.trainer(tmp_path / "whole", Full(), Method()).train()
    assert tiny.losses(tmp_path / "killed") == tiny.losses(tmp_path / "whole")


def forget_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "copy_into", lambda parameters, tensors: None)


def forget_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", lambda self, state: None)


def forget_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "restore_random_state", lambda state: None)


def forget_method_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Count, "load_state_dict", lambda self, state: None)


def forget_data_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream starts over: step 4 sees the rows of step 1."""
    honest = loop.Training.step
    monkeypatch.setattr(loop.Training, "step", lambda self, step: honest(self, step - 3))


@pytest.mark.parametrize(
    "forget", [forget_parameters, forget_optimizer, forget_random_state, forget_method_state, forget_data_order]
)
def test_forgetting_a_piece_of_state_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Callable[[Any], None]
) -> None:
    expected = whole(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        tiny.trainer(tmp_path / "killed", Full(), Count(), Kill(4), dropout=0.1).train()
    forget(monkeypatch)
    torch.manual_seed(12345)
    run = tiny.trainer(tmp_path / "killed", Full(), Count(), Method(), dropout=0.1)
    run.train()
    assert not same(expected, (tiny.losses(tmp_path / "killed"), tiny.weights(run)))


def test_there_is_always_one_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up while the second checkpoint is written: the first is still there, and is gone on from."""
    honest = torch.save
    calls: list[int] = []

    def full_disk(*args: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        honest(*args, **options)

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        tiny.trainer(tmp_path, Full(), steps=9).train()
    assert checkpoint.checkpoints(tmp_path) == [tmp_path / "checkpoint-3"]
    monkeypatch.setattr(torch, "save", honest)
    tiny.trainer(tmp_path, Full(), steps=9).train()
    tiny.trainer(tmp_path / "plain", Full(), steps=9).train()
    assert tiny.losses(tmp_path) == tiny.losses(tmp_path / "plain")


def test_the_validation_leaves_the_random_state_alone(tmp_path: Path) -> None:
    """Otherwise how often one looks would change what is learned."""
    plain = tiny.trainer(tmp_path / "plain", Full(), dropout=0.1)
    plain.train()
    looked = tiny.trainer(tmp_path / "looked", Full(), dropout=0.1)
    looked.validate = lambda model: float(torch.rand(()))
    looked.train()
    assert tiny.losses(tmp_path / "plain") == tiny.losses(tmp_path / "looked")


def looked(folder: Path, *others: Method) -> loop.Trainer:
    """A run whose validation falls from the first look (step 2) on, so that the weights of that step are the ones to keep."""
    run = tiny.trainer(folder, Full(), *others, steps=8, save_every=2)
    values = {2: 0.9, 4: 0.5, 6: 0.4, 8: 0.3}
    run.validate = lambda model: values[tiny.steps(folder)]
    return run


def forget_best_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look after the resume is then the best so far."""
    honest = checkpoint.read
    monkeypatch.setattr(checkpoint, "read", lambda path, shapes: _without_best(honest(path, shapes)))


def _without_best(saved: checkpoint.Saved) -> checkpoint.Saved:
    return replace(saved, progress={**saved.progress, "best": None, "best_step": None})


@pytest.mark.parametrize("forgets", [False, True])
def test_the_best_weights_so_far_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgets: bool) -> None:
    whole_run = looked(tmp_path / "whole")
    whole_run.train()
    with pytest.raises(RuntimeError, match="killed"):
        looked(tmp_path / "killed", Kill(5)).train()
    if forgets:
        forget_best_score(monkeypatch)
    run = looked(tmp_path / "killed", Method())
    progress = run.train()
    kept, expected = tiny.weights(run), tiny.weights(whole_run)
    assert (progress.best_step == 2) is not forgets
    assert all(torch.equal(kept[name], expected[name]) for name in kept) is not forgets


def test_best_weights_of_steps_that_are_taken_again_do_not_replace_those_of_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 4 is the best, its weights are written, and the process dies before its checkpoint; on another device step 4 is not the best.

    The bug: a name without a step, under which the weights of step 4 were exported with the score of step 2.
    """
    whole_run, honest = looked(tmp_path / "whole"), checkpoint.write
    whole_run.train()

    def killed_at_step_4(folder: Path, saved: checkpoint.Saved, kept: list[Path]) -> None:
        if saved.progress["step"] == 4:
            raise RuntimeError("killed")
        honest(folder, saved, kept)

    first = looked(tmp_path / "killed")
    first.validate = lambda model: float(tiny.steps(tmp_path / "killed"))
    monkeypatch.setattr(checkpoint, "write", killed_at_step_4)
    with pytest.raises(RuntimeError, match="killed"):
        first.train()
    monkeypatch.undo()
    assert {path.name for path in (tmp_path / "killed").glob("best*")} == {"best-2.safetensors", "best-4.safetensors"}
    run = looked(tmp_path / "killed")
    assert run.train().best_step == 2
    assert all(torch.equal(weight, tiny.weights(whole_run)[name]) for name, weight in tiny.weights(run).items())
    checkpoint.clear(tmp_path / "killed")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["log.jsonl"]


def test_what_a_stage_says_at_its_end_is_not_doubled(tmp_path: Path) -> None:
    """A kill between that line and the mark of the finished stage: the stage resumes at its last step, and says it again."""
    tiny.trainer(tmp_path, Full()).train()
    before = (tmp_path / "log.jsonl").read_text()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "model", "step": 6, "rows": 8, "truncated_share": 0.0}\n')
    tiny.trainer(tmp_path, Full()).train()
    assert (tmp_path / "log.jsonl").read_text() == before

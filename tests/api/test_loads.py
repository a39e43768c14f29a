"""A run loads its model as often as training changes it in place, and once at the end."""

from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.api.tune import tune
from holdfast.models import loading
from holdfast.models.loading import Pretrained
from holdfast.stages.loader import Loader
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny


@pytest.mark.parametrize(
    ("method", "curve", "expected"),
    [
        ("full", 0, 2),  # the base, measured and then trained; the tuned model from its folder
        ("promot", 0, 2),  # the same: a prompt leaves the model as it is
        ("promot", 2, 3),  # and the model as training starts it, which all points along the way are read into
        ("promot_sequential", 0, 2),
    ],
)
def test_a_run_loads_its_model_no_more_often_than_training_changes_it(
    method: str, curve: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    loads: list[str] = []
    load = loading.load

    def counted(source: Any, *rest: Any, **options: Any) -> Pretrained:
        loads.append(str(source))
        return load(source, *rest, **options)

    monkeypatch.setattr(loading, "load", counted)
    fields = {key: value for key, value in QUICK.items() if method != "full" or key.startswith("model")}
    tune(world / "model", world / "pick", method, world / "copy", limit=2, curve=curve, out=tmp_path / "run", **fields)
    assert len(loads) == expected, loads


def test_a_model_that_was_taken_out_comes_back_unchanged_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.models.resolve.load", lambda *_, **__: tiny.pretrained())
    loader = Loader()
    first = loader.load("model")
    give_back = loader.lend(first)
    give_back()
    assert loader.load("model") is first
    second = loader.load("model")
    give_back = loader.lend(second)
    assert second is first
    with torch.no_grad():
        next(second.model.parameters()).add_(0)  # a write in place, even one that changes no number
    give_back()
    assert loader.load("model") is not first

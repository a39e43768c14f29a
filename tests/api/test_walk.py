"""The way from `tune` to the model's forward is short enough to be read in one sitting."""

import traceback
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaModel

import holdfast
from holdfast.api.tune import tune
from tests.recipes.worlds import write_world

PACKAGE = str(Path(holdfast.__file__).parent)


def test_a_training_forward_is_at_most_twelve_calls_of_ours_away_from_tune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[list[str]] = []
    forward = LlamaModel.forward

    def watched(self: LlamaModel, *args: Any, **options: Any) -> Any:
        ours = [frame.name for frame in traceback.extract_stack() if frame.filename.startswith(PACKAGE)]
        if "_accumulate" in ours and "_probe" not in ours:
            walks.append(ours)
        return forward(self, *args, **options)

    monkeypatch.setattr(LlamaModel, "forward", watched)
    world = write_world(tmp_path / "world", pick=["w3", "w4"], copy=None)
    settings: dict[str, Any] = {"model.steps": 1, "model.token_budget": 4096}
    tune(world / "model", world / "pick", "full", world / "copy", limit=2, out=tmp_path / "run", **settings)
    # Forwards that try what the model can do (prefix/reach.py) are longer ways; the shortest is the step's own.
    assert len(min(walks, key=len)) <= 12, min(walks, key=len)

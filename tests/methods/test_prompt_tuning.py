"""A soft prompt's first vectors: with `init=labels` one for each answer of the task, whatever answers the loss is on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import holdfast
from tests.recipes.worlds import write_world


@pytest.mark.parametrize("loss_on", ["last", "all"])
def test_labels_are_single_answers_also_where_demonstrations_are_trained_on(tmp_path: Path, loss_on: str) -> None:
    """The bug: with the loss on all answers, a demonstration's answer and the row's own were one label (`yes no`), so the vectors
    were means of both, and alike."""
    world = write_world(tmp_path, pick=["w3", "w4"])
    fields: dict[str, Any] = {"prompt.init": "labels", "prompt.length": 2, "prompt.steps": 1}
    fields |= {"prompt.learning_rate": 1e-9, "prompt.demonstrations": 1, "prompt.loss_on": loss_on}
    run = holdfast.tune(world / "model", world / "pick", "prompt_tuning", shots=(0,), out=tmp_path / "run", **fields)
    vectors = load_file(run.folder / "prompt" / "adapter_model.safetensors")["prompt_embeddings"]
    words = load_file(world / "model" / "model.safetensors")["model.embed_tokens.weight"]
    # One step of 1e-9 moves them by that; the mean of two labels is 0.2 away.
    torch.testing.assert_close(vectors, words[[3, 4]], atol=1e-6, rtol=0)

"""MVLPT for text: one prompt of several source tasks, from which the target's prompt starts."""

from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.api.tune import tune
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.methods.transferred_prompt import TransferredPrompt
from holdfast.prompts.load import load_prompt
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.tasks.task_set import TaskRef
from tests.recipes.worlds import write_world
from tests.training import tiny


def test_the_targets_first_forward_is_that_of_the_source_prompt(tmp_path: Path) -> None:
    source = tiny.trainer(tmp_path / "source", PromptTuning(length=4), steps=3)
    source.train()
    source.methods[0].export(source.model, source.pretrained, tmp_path / "source")
    run = tiny.trainer(tmp_path / "target", TransferredPrompt(), steps=0)
    run.inputs = [{"source": tmp_path / "source"}]
    run.train()
    rows = [run.stream.row(i, 0) for i in range(4)]  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad():
        assert torch.equal(run.model(rows).logits, source.model(rows).logits)
    run = tiny.trainer(tmp_path / "moved", TransferredPrompt(), steps=2)
    run.inputs = [{"source": tmp_path / "source"}]
    run.train()
    with torch.no_grad():
        assert not torch.equal(run.model(rows).logits, source.model(rows).logits)


def test_without_a_source_the_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use --method mvlpt"):
        tiny.trainer(tmp_path, TransferredPrompt()).train()


def test_sizes_that_only_the_source_can_have_are_refused_for_the_target() -> None:
    def planned(**prompt: Any) -> Any:
        return find_recipe("mvlpt")(RecipePlan("m", (TaskRef("t"),), {"source": {"length": 3}, "prompt": prompt}))

    for wrong in ({"length": 7}, {"init": "uniform"}):
        with pytest.raises(
            ValueError, match=r"prompt.(length=7|init='uniform'): .* phase before; set source.(length|init)"
        ):
            planned(**wrong)
    planned(length=3)  # the source's
    planned(length=50, init="vocabulary")  # what `repeat` passes: the defaults that config.yaml shows


@pytest.mark.parametrize("method", ["mvlpt", "promot_mvlpt"])
def test_the_recipe_trains_one_prompt_on_the_sources_and_measures_the_targets_alone(
    method: str, tmp_path: Path
) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], other=["w5", "w6"], copy=None)
    stages = ("source", "prompt") + ("model",) * (method == "promot_mvlpt")
    fields: dict[str, Any] = {
        f"{stage}.{key}": value for stage in stages for key, value in (("steps", 2), ("batch_size", 4))
    }
    fields |= {"source.tasks": f"{world / 'other'},{world / 'copy'}", "source.length": 3}
    run = tune(world / "model", world / "pick", method, limit=4, out=tmp_path / "run", **fields)
    assert {score.task for score in run.scores} == {"pick"}
    assert [p.name for p in run.folder.iterdir()].count("prompt") == 1
    assert run.config["stages"]["source"]["tasks"] == fields["source.tasks"]
    kept: Any = load_prompt(run.folder / "prompt", tiny.pretrained())
    assert kept.length == 3

"""Prompt tuning: the learning rate is in units of the word embeddings, so one default fits every model."""

from pathlib import Path

import pytest
import torch

from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.tasks.task_set import TaskRef
from holdfast.training.loop import Trainer
from tests.training import tiny


def vectors(run: Trainer) -> torch.Tensor:
    prompt = run.model.prompts[0]
    assert isinstance(prompt, SoftPrompt)
    return prompt.vectors.detach().clone()


@pytest.mark.parametrize("method", ["promot", "promot_deep", "joint", "prompt_tuning"])
def test_an_init_that_is_none_is_refused_when_the_run_is_planned(method: str) -> None:
    stage = "model" if method == "joint" else "prompt"
    with pytest.raises(
        ValueError, match=r"prompt.init='true or false': use vocabulary, text:SOME TEXT, labels or uniform"
    ):
        find_recipe(method)(RecipePlan("m", (TaskRef("t"),), {stage: {"init": "true or false"}}))


@pytest.mark.parametrize("scale", [0.25, 1.0, 16.0])
def test_a_first_step_moves_the_prompt_by_the_rate_times_the_size_of_the_embeddings(
    scale: float, tmp_path: Path
) -> None:
    """Adam's first step is the rate, in the direction of the gradient's sign, whatever the gradient's size.

    A rate in absolute units would move the prompt by 0.1 in each of the three models.
    """
    loaded = tiny.pretrained()
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.mul_(scale)
        words = loaded.model.get_input_embeddings().weight
    size = float(words.detach().pow(2).mean().sqrt())
    method = PromptTuning(length=3)
    start = tiny.trainer(tmp_path / "start", PromptTuning(length=3), model=loaded, steps=0)
    start.train()
    before = vectors(start)
    run = tiny.trainer(tmp_path / "run", method, model=loaded, steps=1, learning_rate=0.1)
    run.train()
    moved = (vectors(run) - before).abs()
    # Adam's epsilon leaves a little out where a gradient is small; an absolute rate is off by 0.2 / scale and more.
    assert float(moved.median()) == pytest.approx(0.1 * size, rel=1e-3)

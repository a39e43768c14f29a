"""Poly and multi-head routing: each task has its own mixture, routing alone leaves the skills, and the export is a plain LoRA."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file

from holdfast.api.tune import tune
from holdfast.methods._skills import ADAPTER
from holdfast.methods.base import Method
from holdfast.methods.skill_training import SkillTraining
from holdfast.methods.skill_transfer import SkillTransfer
from holdfast.models import loading
from holdfast.prefix.model import PrefixModel
from holdfast.recipes.find import find_recipe
from holdfast.recipes.plan import RecipePlan
from holdfast.row import Row
from holdfast.tasks.task_set import TaskRef
from holdfast.training.batches import Stream
from holdfast.training.loop import Training
from tests.recipes.worlds import write_world
from tests.training import tiny

NOISE = 2e-5  # float32 noise of logits of about 10; another mixture moves them by 0.01 and more


def of_tasks(tasks: int = 2, count: int = 8) -> list[Row]:
    return [replace(row, task_number=i % tasks) for i, row in enumerate(tiny.rows(count))]


def trained(folder: Path, method: Method, rows: Sequence[Row], steps: int = 4, before: Path | None = None) -> Training:
    trainer = tiny.trainer(folder, method, steps=steps, learning_rate=3e-2)
    trainer.stream = Stream(lambda index, epoch: rows[index], len(rows), 4, 0)
    trainer.inputs = [{"skills_of": before}] if before else []
    run = Training(trainer)
    run.run()
    return run


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The skills of a first phase on two tasks."""
    folder = tmp_path_factory.mktemp("sources")
    run = trained(folder, SkillTraining(skills=3, splits=2, rank=2), of_tasks(), steps=8)
    run.methods[0].export(run.model, run.trainer.pretrained, folder)
    return folder


def logits(model: PrefixModel, rows: Sequence[Row]) -> torch.Tensor:
    with torch.no_grad():
        return model(rows).logits


def layers(run: Training) -> list[Any]:
    method: Any = run.methods[0]
    return list(method._layers.values())


@pytest.mark.parametrize("splits", [1, 4])
def test_skills_that_nobody_has_trained_change_nothing(splits: int, tmp_path: Path) -> None:
    """Rows of two tasks are computed in two forwards, of other shapes than the one of all: some processors round them otherwise."""
    run = trained(tmp_path, SkillTraining(splits=splits), of_tasks(), steps=0)
    plain = logits(PrefixModel(tiny.pretrained().model), tiny.rows())
    assert (logits(run.model, of_tasks()) - plain).abs().max() < NOISE


def test_the_rows_of_a_task_are_computed_as_peft_computes_them(tmp_path: Path) -> None:
    """Mixed rows, packed, and PEFT's own forward with task ids, row by row: the same."""
    run = trained(tmp_path, SkillTraining(skills=3, splits=2, rank=2), of_tasks())
    with torch.no_grad():
        for layer in layers(run):  # routing that tells the tasks apart clearly
            layer.poly_router[ADAPTER].module_logits[:2].copy_(
                torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
            )
    rows = of_tasks()
    method: Any = run.methods[0]
    mixed = logits(run.model, rows)
    expected, both = [], []
    for row in rows:
        for task, into in ((row.task_number, expected), (1 - (row.task_number or 0), both)):
            for layer in layers(run):
                layer._forward_pre_hooks.clear()
                layer._forward_pre_hooks_with_kwargs.clear()
            with torch.no_grad():
                alone = method._peft(input_ids=torch.tensor([row.tokens]), task_ids=torch.tensor([task])).logits[0]
            into.append(alone[[label - 1 for label in row.labels]])
    assert (mixed - torch.cat(expected)).abs().max() < NOISE
    assert (mixed - torch.cat(both)).abs().max() > 0.05


def test_the_router_has_a_learning_rate_of_its_own_and_each_task_moves_its_own_row(tmp_path: Path) -> None:
    run = trained(tmp_path, SkillTraining(), [row for row in of_tasks(3) if row.task_number != 1])
    assert [group["scale"] for group in run.optimizer.param_groups] == [1.0, 100.0]
    router = layers(run)[0].poly_router[ADAPTER].module_logits.detach()
    assert router.shape == (4, 8)  # three tasks and any other, eight skills
    assert [bool(row.abs().max() > 2e-3) for row in router] == [True, False, True, False]  # they start within 1e-3


def test_the_average_adapter_is_uniform_routing(sources: Path) -> None:
    """PEFT's LoRA with alpha 1 computes what PEFT's Poly does with equal routing logits."""
    skills = load_file(sources / "skills.safetensors")
    adapted: Any = peft.PeftModel.from_pretrained(tiny.pretrained().model, sources / "adapter")
    name = "model.layers.0.mlp.up_proj"
    layer = adapted.base_model.model.get_submodule(name)
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    assert layer.scaling[ADAPTER] == 1 / 2
    torch.testing.assert_close(down.detach(), skills[f"{name}.A"].mean(1).flatten(0, 1).T, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        up.detach(), skills[f"{name}.B"].mean(1).transpose(0, 1).flatten(1).T, rtol=1e-5, atol=1e-7
    )
    assert float(up.detach().abs().max()) > 0


@pytest.mark.parametrize("adapt", ["all", "routing", "average"])
def test_the_transfer_moves_what_it_says_and_leaves_a_plain_lora(adapt: Any, tmp_path: Path, sources: Path) -> None:
    run = trained(tmp_path, SkillTransfer(adapt=adapt, router_scale=10), tiny.rows(), before=sources)
    before = load_file(sources / "skills.safetensors")
    method: Any = run.methods[0]
    moved = {
        key
        for name, layer in method._layers.items()
        for key, now in (("A", layer.poly_lora_A), ("B", layer.poly_lora_B))
        if not torch.equal(now[ADAPTER].detach(), before[f"{name}.{key}"])
    }
    assert moved == (set() if adapt == "routing" else {"A", "B"})
    assert layers(run)[0].poly_lora_A[ADAPTER].shape[1] == (1 if adapt == "average" else 3)
    measured = logits(run.model, tiny.rows())
    method.export(run.model, run.trainer.pretrained, tmp_path)
    plain = loading.load(tmp_path / "model").model
    assert (logits(PrefixModel(plain), tiny.rows()) - measured).abs().max() < NOISE
    adapted: Any = peft.PeftModel.from_pretrained(tiny.pretrained().model, tmp_path / "adapter")
    assert (logits(PrefixModel(adapted.merge_and_unload()), tiny.rows()) - measured).abs().max() < NOISE
    assert (measured - logits(PrefixModel(tiny.pretrained().model), tiny.rows())).abs().max() > 0.05


def test_the_transfer_begins_at_the_average(tmp_path: Path, sources: Path) -> None:
    average: Any = peft.PeftModel.from_pretrained(tiny.pretrained().model, sources / "adapter")
    expected = logits(PrefixModel(average.merge_and_unload()), tiny.rows())
    for adapt in ("all", "average"):
        run = trained(tmp_path / adapt, SkillTransfer(adapt=adapt), tiny.rows(), steps=0, before=sources)
        assert (logits(run.model, tiny.rows()) - expected).abs().max() < NOISE


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    def run(folder: str, steps: int) -> dict[str, torch.Tensor]:
        return tiny.weights(trained(tmp_path / folder, SkillTraining(skills=2), of_tasks(), steps=steps))

    whole = run("whole", 6)
    run("half", 3)
    resumed = run("half", 6)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="splits=5: does not divide the 32 numbers on a side of"):
        trained(tmp_path / "a", SkillTraining(splits=5), of_tasks())
    with pytest.raises(ValueError, match="use --method poly or mhr"):
        trained(tmp_path / "b", SkillTransfer(), tiny.rows())
    run = tiny.trainer(tmp_path / "c", SkillTraining(), steps=1, gradient_checkpointing=True)
    with pytest.raises(ValueError, match="gradient_checkpointing: layers with skills"):
        run.train()
    wrong: dict[str, Any] = {"skills": {"tasks": str(tmp_path / "none")}}
    with pytest.raises(ValueError, match="none"):
        find_recipe("poly")(RecipePlan("model", (TaskRef("task"),), wrong))
    with pytest.raises(ValueError, match=r"unknown field of stage 'model': 'model\.tasks'"):
        find_recipe("lora")(RecipePlan("model", (TaskRef("task"),), {"model": {"tasks": "x"}}))


@pytest.mark.parametrize("method", ["poly", "mhr_z"])
def test_the_recipes_train_on_the_named_sources_and_end_with_the_target(method: str, tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", pick=["w3", "w4"], other=["w5", "w6"], copy=None)
    fields: dict[str, Any] = {
        f"{stage}.{key}": value for stage in ("skills", "model") for key, value in (("steps", 2), ("batch_size", 4))
    }
    fields["skills.tasks"] = f"{world / 'other'},{world / 'copy'}"
    run = tune(world / "model", world / "pick", method, limit=4, out=tmp_path / "run", **fields)
    assert run.config["stages"]["skills"]["tasks"] == fields["skills.tasks"]
    assert (run.folder / "adapter").is_dir()
    assert (run.folder / "model").is_dir()
    again = tune(world / "model", world / "pick", method, limit=4, out=tmp_path / "run", **fields)
    assert again.config == run.config

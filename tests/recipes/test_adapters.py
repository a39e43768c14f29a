"""Runs that leave a LoRA and no merged model: measured, loaded and analysed as the merged model is."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

import holdfast
from holdfast.api import tune as runs
from holdfast.api.analyse import analyse_run
from holdfast.api.evaluate import default_tasks
from holdfast.api.tune import tune
from holdfast.playground.bench import opened
from holdfast.report.run.page import write_page
from holdfast.stages.stage import Finished, Inputs
from holdfast.stages.train import Train
from tests.recipes.worlds import QUICK, write_world

FAST: dict[str, Any] = {"model.learning_rate": 0.1}
APART: dict[str, Any] = {"model.merge": False}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None)


def train(world: Path, name: str, method: str = "lora", **fields: Any) -> runs.Run:
    given = {k: v for k, v in QUICK.items() if "promot" in method or k.startswith("model.")} | fields
    general = [str(world / "copy")]
    return tune(str(world / "model"), str(world / "pick"), method, general, shots=(0,), out=world / name, **given)


@pytest.fixture(scope="module")
def both(world: Path) -> tuple[runs.Run, runs.Run]:
    return train(world, "merged", **FAST), train(world, "apart", **FAST, **APART)


def logprobs(run: runs.Run) -> list[float]:
    found = [json.loads(line) for line in (run.folder / "outputs.jsonl").read_text().splitlines()]
    return [value for o in found if o["variant"] == "tuned" and o["logprobs"] for value in o["logprobs"]]


def test_the_scores_are_those_of_the_merged_model(both: tuple[runs.Run, runs.Run]) -> None:
    merged, apart = both
    assert [(apart.folder / part).is_dir() for part in ("model", "adapter")] == [False, True]
    # Noise 1e-6; the base instead of the tuned model, the bug to catch, is 0.1 away and more.
    assert logprobs(apart) == pytest.approx(logprobs(merged), abs=1e-4)
    base = [json.loads(line) for line in (apart.folder / "outputs.jsonl").read_text().splitlines()]
    before = [value for o in base if o["variant"] == "base" and o["logprobs"] for value in o["logprobs"]]
    assert max(abs(a - b) for a, b in zip(logprobs(apart), before, strict=True)) > 0.1


def test_a_run_loads_with_its_adapter(both: tuple[runs.Run, runs.Run], world: Path) -> None:
    _, apart = both
    theirs = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(world / "model"), apart.folder / "adapter"
    ).eval()
    ours, tokens = holdfast.load(apart).pretrained.model, torch.tensor([[1, 5, 9, 8]])
    with torch.no_grad():
        assert torch.allclose(ours(tokens).logits, theirs(tokens).logits, atol=1e-4)  # noise 1e-6; the base is 0.1 away
    assert list(opened(apart.folder).models) == ["Base", "Tuned"]


@pytest.mark.parametrize("init", ["default", "pissa"])
def test_the_analyses_of_a_finished_run_see_its_adapter(
    both: tuple[runs.Run, runs.Run], world: Path, init: str
) -> None:
    merged, apart = both
    if init != "default":
        fields: dict[str, Any] = {**FAST, "model.init": init}
        merged, apart = train(world, "m", **fields), train(world, "a", **fields, **APART)
    found = [
        {(one["measure"], one["where"]): one["value"] for one in analyse_run(str(run.folder), ["weight_drift"])}
        for run in (merged, apart)
    ]
    assert found[0]["relative_norm", "layers.0"] > 0.01
    assert found[1] == pytest.approx(
        found[0], rel=1e-3
    )  # float32 noise in small changes; without the adapter all are 0


def test_what_evaluate_finds_is_drawn_block_by_block(both: tuple[runs.Run, runs.Run], tmp_path: Path) -> None:
    run, names = str(both[1].folder), ["weight_drift", "format_share", "label_mass"]
    found = analyse_run(run, names, limit=2, out=tmp_path)
    assert {one["measure"] for one in found} >= {"relative_norm", "share_off", "mass_off"}
    holdfast.evaluate(run, default_tasks(run), limit=2, out=tmp_path)
    assert "Weight drift" in write_page(tmp_path).read_text()


def test_an_adapter_behind_a_prompt(world: Path) -> None:
    apart = train(world, "promot", "promot_lora", **FAST, **APART)
    merged = train(world, "promot-merged", "promot_lora", **FAST)
    assert logprobs(apart) == pytest.approx(logprobs(merged), abs=1e-4)
    assert list(opened(apart.folder).models) == ["Base", "Tuned, prompt attached", "Tuned, prompt removed"]


def test_no_stage_goes_on_from_an_adapter_alone(world: Path) -> None:
    stage = Train("model-b", str(world / "model"), start=Train("model-a"))
    inputs = Inputs({"start": Finished(Train("model-a"), world / "pick")})
    with pytest.raises(ValueError, match="left no whole model to go on from; with LoRA, leave merge on"):
        stage._begin([], inputs, stage.loading)

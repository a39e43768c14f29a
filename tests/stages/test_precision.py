"""Whole runs in bfloat16: what is held, what is written, what the records say, and that runs in float32 keep their names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from holdfast.api.evaluate import evaluate
from holdfast.api.load import load
from holdfast.api.tune import repeat, tune
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.models.precision import Loading, checkpoint_dtype
from holdfast.stages.evaluate import Evaluate
from holdfast.stages.stage import digest
from holdfast.stages.train import Train
from holdfast.training.loop import Training
from tests.recipes.worlds import QUICK, write_world

PROMPT = {key: value for key, value in QUICK.items() if key.startswith("prompt.")}
MODEL = {key: value for key, value in QUICK.items() if key.startswith("model.")}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None)


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, set[torch.dtype], set[torch.dtype]]]:
    """Of every training stage: its name, and the types of what moves and of what does not, once it has begun."""
    seen, step = [], Training.step

    def look(training: Training, number: int) -> dict[str, Any]:
        if number == 0:
            held: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
            for parameter in training.model.parameters():
                held[parameter.requires_grad].add(parameter.dtype)
            seen.append((training.stage, held[True], held[False]))
        return step(training, number)

    monkeypatch.setattr(Training, "step", look)
    return seen


def run(world: Path, out: Path, method: str, **options: Any) -> Path:
    tune(
        str(world / "model"), str(world / "pick"), method, str(world / "copy"), **{"shots": (0,), "out": out, **options}
    )
    return out


def test_what_moves_is_float32_over_a_model_in_bfloat16_and_is_written_in_bfloat16(
    world: Path, tmp_path: Path, moving: list[Any]
) -> None:
    out = run(world, tmp_path / "run", "promot", dtype="bf16", curve=2, **QUICK)
    low, high = {torch.bfloat16}, {torch.float32}
    assert moving == [("prompt", high, low), ("model", high, high)]  # in the second stage the frozen part is the prompt
    assert {t.dtype for t in load_file(out / "model" / "model.safetensors").values()} == low
    assert checkpoint_dtype(out / "model") == "bf16"
    assert {t.dtype for t in load_file(out / "prompt" / "adapter_model.safetensors").values()} == high
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert {(s["dtype"], s["device"]) for s in scores} == {("bf16", "cpu" if not torch.cuda.is_available() else "cuda")}
    assert "Precision: bf16 on" in (out / "README.md").read_text()
    # The last point of the curve is the weights that are kept, unless an earlier checkpoint was better; then it was measured apart.
    assert yaml.safe_load((out / "config.yaml").read_text())["dtype"] == "bf16"
    again = yaml.safe_load((repeat(out / "config.yaml", tmp_path / "again").folder / "config.yaml").read_text())
    assert again["dtype"] == "bf16"
    # A run is asked in its own precision unless another is named.
    assert load(out).pretrained.model.dtype == torch.bfloat16
    assert load(out, dtype="fp32").pretrained.model.dtype == torch.float32
    assert {score.dtype for score in evaluate(out, str(world / "copy"))} == {"bf16"}


def test_lora_is_float32_over_bfloat16_and_the_merged_model_is_bfloat16(
    world: Path, tmp_path: Path, moving: list[Any]
) -> None:
    out = run(world, tmp_path / "run", "lora", dtype="bf16", **MODEL)
    assert moving == [("model", {torch.float32}, {torch.bfloat16})]
    assert checkpoint_dtype(out / "model") == "bf16"
    assert {t.dtype for t in load_file(out / "adapter" / "adapter_model.safetensors").values()} == {torch.float32}


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def test_bfloat16_learns_as_float32_does(world: Path, tmp_path: Path) -> None:
    """Losses of about 3 that fall by 0.5 differ by rounding, 0.4 % of each number: 0.01 was seen, and weights that round
    each step away would stay where they are."""
    settings = {"model.steps": 20, "model.learning_rate": 1e-3, "model.save_every": 20}
    low, high = (losses(run(world, tmp_path / d, "full", dtype=d, **settings)) for d in ("bf16", "fp32"))
    assert high[-1] < high[0] - 0.3
    assert low == pytest.approx(high, abs=0.05)


def test_a_step_too_small_for_bfloat16_still_counts(world: Path, tmp_path: Path) -> None:
    """Without float32 weights every step of 2e-5 is rounded away: weights of 0.2 in bfloat16 are 1e-3 apart."""
    settings = {"model.steps": 100, "model.learning_rate": 2e-5, "model.save_every": 100, "model.warmup": 0}
    out = run(world, tmp_path / "run", "full", dtype="bf16", limit=1, **settings)
    first, last = losses(out)[0], losses(out)[-1]
    assert last < first - 0.02


def test_float32_keeps_the_names_of_stages_and_other_precisions_have_their_own() -> None:
    def names(loading: Loading | None) -> list[str]:
        options: dict[str, Any] = {} if loading is None else {"loading": loading}
        stage = Train("model", "m", methods=(PromptTuning(),), **options)
        return [digest(stage), digest(Evaluate("base", "m", **options)), digest(Evaluate("t", "m", tuned=stage))]

    assert names(Loading("fp32", "cuda")) == names(Loading("fp32", "cpu")) == names(None)
    assert names(Loading("bf16", "cuda")) == names(Loading("bf16", "cpu"))
    assert not set(names(Loading("bf16"))) & set(names(None))


@pytest.mark.parametrize(
    ("dtype", "method", "words"),
    [
        ("fp16", "prompt_tuning", "prompt_tuning: dtype=fp16 cannot be trained with"),
        ("int8", "full", "full: trains the model's own weights, and with dtype=int8 these are whole numbers"),
        ("int4", "promot", "full: trains the model's own weights"),
        ("int4", "half_fine_tuning", "half_fine_tuning: trains the model's own weights"),
        ("int4", "joint", "joint: trains the model's own weights"),
        ("half", "full", "dtype='half': there is none of this name"),
    ],
)
def test_a_precision_that_a_method_cannot_train_in_is_refused_before_anything_is_written(
    world: Path, tmp_path: Path, dtype: str, method: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.models.precision.find_spec", lambda name: object())
    with pytest.raises(ValueError, match=words):
        run(world, tmp_path / "run", method, dtype=dtype)
    assert not (tmp_path / "run").exists()


def test_a_run_from_before_there_were_precisions_goes_on_in_float32(world: Path, tmp_path: Path) -> None:
    out = run(world, tmp_path / "run", "full", dtype="fp32", **MODEL)
    config = yaml.safe_load((out / "config.yaml").read_text())
    del config["dtype"], config["device"]
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    run(world, out, "full", dtype="fp32", **MODEL)
    with pytest.raises(ValueError, match=r"another configuration \(different: dtype\)"):
        run(world, out, "full", dtype="bf16", **MODEL)

"""The memory that a configuration says a method will take, against what a step of that method really keeps."""

import json
from pathlib import Path

import pytest

from holdfast.cli import doctor
from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.models import loading
from holdfast.row import Row
from holdfast.training.loop import Training
from holdfast.training.memory_plan import BatchShape, MemoryNeed, MemoryPlan, Sizes
from tests.training import tiny

BATCH = BatchShape(rows=4, tokens=16, answer=4, prompt=8, rank=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    loading.save(tiny.pretrained(), path)
    return path


@pytest.fixture(scope="module")
def needs(folder: Path) -> dict[tuple[str, str], MemoryNeed]:
    # The configuration alone: with the weights gone, nothing can have been read of them.
    weights = folder / "model.safetensors"
    weights.rename(folder / "gone")
    found = {(need.method, need.precision): need for need in MemoryPlan(folder).needs(BATCH)}
    (folder / "gone").rename(weights)
    return found


@pytest.mark.parametrize(
    ("name", "method"), [("prompt_tuning", PromptTuning(length=8)), ("full", Full()), ("lora", Lora(rank=16))]
)
def test_what_a_forward_keeps_is_what_the_plan_says(
    needs: dict[tuple[str, str], MemoryNeed], tmp_path: Path, name: str, method: Method
) -> None:
    # Rows that begin differently: what they share would be computed once.
    rows = [Row(tuple(range(3 + i, 19 + i)), (*[0.0] * 12, *[1.0] * 4), None, f"r{i}") for i in range(4)]
    trainer = tiny.trainer(tmp_path, method, data=rows, token_budget=4096)
    training = Training(trainer)
    kept = training.kept_per_token(trainer.stream.sample(4)) * sum(len(row.tokens) for row in rows)
    need = needs[name, "fp32"]
    # Masks, paths and positions of packed rows are not planned; at this width they are a fifth. A layer that is not counted is half.
    assert need.kept == pytest.approx(kept, rel=0.3)
    moving = sum(p.numel() for p in training.moving.values())
    assert (need.gradients, need.optimizer) == (4 * moving, 8 * moving)


def test_precisions_are_what_they_weigh(needs: dict[tuple[str, str], MemoryNeed], folder: Path) -> None:
    model = loading.load(folder).model
    count = sum(p.numel() for p in model.parameters())
    assert MemoryPlan(folder).sizes == Sizes.of(model)
    assert needs["evaluation", "fp32"].weights == 4 * count
    assert needs["evaluation", "bf16"].weights == needs["evaluation", "fp16"].weights == 2 * count
    assert needs["full", "bf16"].weights == 4 * count, "trained weights are held in float32"
    assert (
        needs["prompt_tuning", "int4"].weights
        < needs["prompt_tuning", "int8"].weights
        < needs["prompt_tuning", "fp32"].weights
    )
    for method in ("prompt_tuning", "full", "lora"):
        assert needs[method, "bf16"].kept < needs[method, "fp32"].kept
    refused = {key for key, need in needs.items() if need.refused}
    assert {("full", "int4"), ("promot", "int8"), ("lora", "fp16")} <= refused
    assert not {("lora", "int4"), ("evaluation", "fp16")} & refused


def test_layers_that_are_computed_twice_keep_less_and_longer_rows_more(folder: Path) -> None:
    plan = MemoryPlan(folder)

    def kept(batch: BatchShape) -> int:
        return plan.need("full", "fp32", batch).kept

    whole = kept(BATCH)
    assert kept(BatchShape(4, 16, 4, 8, 16, checkpointing=True)) < whole
    assert kept(BatchShape(8, 16, 8, 8, 16)) == pytest.approx(2 * whole, rel=0.1)


def test_the_doctor_prints_it_and_says_what_cannot_be_trained(folder: Path, capsys: pytest.CaptureFixture) -> None:
    doctor.doctor(str(folder), plan=True, rows=4, tokens=16, answer=4, prompt_length=8)
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("full"))
    assert line.split()[3:] == ["-", "-", "-"]
    assert "4 rows of 16 tokens" in text
    doctor.doctor(str(folder), plan=True, rows=2, tokens=8, answer=2, json_=True)
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 30
    assert all((record["total"] > 0) is not bool(record["refused"]) for record in records)
    with pytest.raises(ValueError, match="an answer of 16 tokens does not fit into a row of 16"):
        doctor.doctor(str(folder), plan=True, tokens=16, answer=16)
    with pytest.raises(ValueError, match="--plan: name a model"):
        doctor.doctor(plan=True)

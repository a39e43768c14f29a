"""Commands say what fits, what they take, and each fault on a line of its own."""

import json
import shlex
from pathlib import Path

import pytest

from holdfast.api.plan_memory import PlannedMemory
from holdfast.cli import doctor
from holdfast.cli.app import app
from holdfast.plugins import METHODS, RECIPES, techniques
from holdfast.training.memory_plan import BatchShape, MemoryNeed
from tests.cli.commands import Commands


def planned(holdfast: Commands, *options: object) -> list[dict[str, object]]:
    seen = holdfast("doctor", "lab", "--plan", "--rows", 2, "--tokens", 16, "--answer", 2, *options, "--json")
    assert seen.code == 0, seen
    return [json.loads(line) for line in seen.out.splitlines()]


def test_the_plan_marks_what_fits_into_another_machine_by_the_names_of_tune(holdfast: Commands) -> None:
    records = planned(holdfast, "--memory", 1)
    names = {str(record["method"]) for record in records} - {"evaluation"}
    assert names <= {*techniques(METHODS), *techniques(RECIPES)}, "a row that `tune --method` does not take"
    for record in records:
        total = record["total"]
        assert isinstance(total, int)
        assert record["fits"] == (not record["refused"] and total <= 2**30), record
    assert {record["fits"] for record in planned(holdfast, "--memory", 0.1)} == {False}
    shown = holdfast("doctor", "lab", "--plan", "--memory", 0.1).out
    assert "No method fits" in shown
    shown = holdfast("doctor", "lab", "--plan", "--memory", 1000).out
    assert "+ fits into 1000.0 GiB" in shown
    # One pick, on a line to be copied: where all fits the default, in the precision that loses nothing.
    assert shown.splitlines()[-1] == "holdfast tune lab TASK --method promot --dtype fp32"
    (pick,) = [record for record in planned(holdfast, "--memory", 1000) if record["recommended"]]
    assert (pick["method"], pick["precision"]) == ("promot", "fp32")
    assert not any(record["recommended"] for record in planned(holdfast, "--memory", 0.1))


def test_the_pick_is_the_first_method_that_fits_and_the_table_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    sizes = {
        ("prompt_tuning", "bf16"): 1,
        ("promot", "fp32"): 9,
        ("promot_lora", "fp32"): 5,
        ("promot_lora", "bf16"): 3,
    }
    needs = [MemoryNeed(method, dtype, weights=size * 2**30) for (method, dtype), size in sizes.items()]
    needs += [MemoryNeed("full", "bf16", weights=2**30), MemoryNeed("evaluation", "bf16", weights=2**30)]
    needs.append(MemoryNeed("promot", "int8", refused="cannot be trained"))

    def picked(free: int) -> tuple[str, str] | None:
        pick = PlannedMemory(needs, BatchShape(16, 128, 16, 50), 10**9, free * 2**30, "").pick
        return pick and (pick.method, pick.precision)

    assert [picked(free) for free in (9, 8, 4, 2)] == [
        ("promot", "fp32"), ("promot_lora", "fp32"), ("promot_lora", "bf16"), ("prompt_tuning", "bf16"),
    ]  # fmt: skip
    assert picked(0) is None
    doctor._show_memory(PlannedMemory(needs, BatchShape(16, 128, 16, 50), 10**9, 4 * 2**30, "cpu"), "my models/it's")
    lines = capsys.readouterr().out.splitlines()
    command = next(line for line in lines if line.startswith("holdfast tune"))
    assert shlex.split(command)[2] == "my models/it's"
    assert max(len(line) for line in lines if line != command) <= 80


def test_a_plan_for_memory_needs_to_be_a_plan(holdfast: Commands) -> None:
    assert "give --plan too" in holdfast("doctor", "lab", "--memory", 8).error


def test_tune_offers_no_model_that_it_refuses(holdfast: Commands) -> None:
    import typer

    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    helps = {name: next((p.help or "" for p in c.params if p.name == "model"), "") for name, c in commands.items()}
    assert "openai:" not in helps["tune"]
    assert "openai:" in helps["evaluate"]
    assert "a model behind a server" in holdfast("tune", "openai:http://127.0.0.1:9/v1#x", "lab:kind").error


def test_every_fault_of_a_file_is_a_line_with_file_and_line(tmp_path: Path, holdfast: Commands) -> None:
    lines = ['{"input": "a", "target": "b"}', '{"input": ', "[1]", '{"inpt": 3}']
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    seen = holdfast("tune", "lab", tmp_path, "--out", tmp_path / "run")
    assert seen.code == 1
    begins = [f"holdfast: {tmp_path / f'{split}.jsonl'}:{line}: " for split in ("train", "test") for line in (2, 3, 4)]
    shown = seen.err.splitlines()
    assert len(shown) == len(begins)
    assert all(sum(line.startswith(begin) for line in shown) == 1 for begin in begins), seen.err
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a"}\n{"prompt": \n{"promt": 3}\n')
    seen = holdfast("generate", "lab", "--input", prompts)
    assert [line.split(": ")[1] for line in seen.err.splitlines()] == [f"{prompts}:2", f"{prompts}:3"]

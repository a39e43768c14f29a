"""Commands say what fits, what they take, and each fault on a line of its own."""

import json
from pathlib import Path

from holdfast.cli.app import app
from holdfast.plugins import METHODS, RECIPES, techniques
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
    assert "Fits: prompt_tuning (fp32, bf16" in shown
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

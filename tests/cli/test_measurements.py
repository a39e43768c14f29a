"""`evaluate ... --out DIR` replaces another measurement only where the user says so, as `tune` does."""

import json
from pathlib import Path

from tests.cli.commands import Commands, Seen


def measure(holdfast: Commands, out: Path, *options: object, task: str = "lab:kind") -> Seen:
    against = ("--against", "lab") if "--alone" not in options else ()
    rest = [option for option in options if option != "--alone"]
    return holdfast("evaluate", "lab", *against, "--task", task, "--shots", 0, "--limit", 2, "--out", out, *rest)


def test_another_measurement_is_refused_in_one_line_and_replaced_with_overwrite(
    tmp_path: Path, holdfast: Commands
) -> None:
    out = tmp_path / "check"
    assert measure(holdfast, out).code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused = measure(holdfast, out, task="lab:count")
    assert refused.error == (
        f"holdfast: {out}: holds another measurement (different: task); give another --out, or --overwrite to replace it"
    )
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"} == {
        path: content for path, content in before.items() if path.name != ".lock"
    }, "a refused command changed what is there"
    assert measure(holdfast, out, "--overwrite", task="lab:count").code == 0
    tasks = {json.loads(line)["task"] for line in (out / "scores.jsonl").read_text().splitlines()}
    assert tasks == {"count"}
    assert not list(out.rglob("samples_kind*")), "answers of the replaced measurement would be taken for this one's"


def test_the_same_measurement_goes_on(tmp_path: Path, holdfast: Commands) -> None:
    """Killed after the base was asked: the numbers are missing, and the second command asks only the tuned model."""
    out = tmp_path / "check"
    assert measure(holdfast, out).code == 0
    for path in (out / "scores.jsonl", out / "evidence.json", *(out / "stages").glob("evaluate-tuned*/done.json")):
        path.unlink()
    again = measure(holdfast, out)
    assert again.code == 0
    assert "tuned" in again.err
    assert "base: kind" not in again.err
    assert (out / "scores.jsonl").exists()
    assert measure(holdfast, out).code == 0, "a finished one is shown again"


def test_a_folder_with_files_of_the_users_gets_no_pages(tmp_path: Path, holdfast: Commands) -> None:
    """`--out .` in a repository: its README.md would be written over."""
    (tmp_path / "README.md").write_text("mine")
    assert measure(holdfast, tmp_path).error.endswith("is not empty and holds no measurement; give another --out")
    assert (tmp_path / "README.md").read_text() == "mine"


def test_scores_of_one_model_are_not_replaced_silently_either(tmp_path: Path, holdfast: Commands) -> None:
    out = tmp_path / "scores"
    assert measure(holdfast, out, "--alone").code == 0
    assert (
        "(different: task); give another --out, or --overwrite"
        in measure(holdfast, out, "--alone", task="lab:count").error
    )
    assert "holds another measurement (of `evaluate` without --against" in measure(holdfast, out).error
    assert measure(holdfast, out, "--alone").code == 0
    assert measure(holdfast, out, "--alone", "--overwrite", task="lab:count").code == 0


def test_the_numbers_of_a_run_are_not_replaced(tmp_path: Path, holdfast: Commands) -> None:
    (tmp_path / "config.yaml").write_text("command: tune\n")
    for options in ((), ("--alone",), ("--alone", "--overwrite")):
        assert "holds a run of `tune`" in measure(holdfast, tmp_path, *options).error

"""`holdfast compare --policy`: exit codes, the summary, and evidence that is stale."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from holdfast.api.against import against
from holdfast.api.gate import gate
from tests.recipes.worlds import write_world

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model beside a copy of itself: nothing can be lost."""
    world = write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"])
    # One choice is mostly right, so that the base is above chance: a base that guesses has nothing to keep.
    lines = []
    for number in range(96):
        record = {"input": f"w{5 + number % 32} w9", "target": "w3" if number % 4 else "w4", "choices": ["w3", "w4"]}
        lines.append(json.dumps(record))
    (world / "pick" / "test.jsonl").write_text("\n".join(lines) + "\n")
    shutil.copytree(world / "model", world / "tuned")
    (folder,) = against(world / "model", world / "tuned", world / "pick", shots=(0,), out=world / "out")
    return folder


def policy(folder: Path, **fields: object) -> Path:
    path = folder / "holdfast.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def compare(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "holdfast", "compare", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"margin": 0.9}, 0, "kept"),
        ({"margin": 0.9, "tasks": {"pick": {"floor": 1.0}}}, 2, "lost"),
        ({"margin": 0.9, "items": 1000}, 3, "unclear"),
    ],
)
def test_the_exit_code_is_the_outcome_and_the_summary_says_why(
    fields: dict[str, object], code: int, word: str, measured: Path, tmp_path: Path
) -> None:
    done = compare(measured, "--policy", policy(tmp_path, **fields), "--summary", tmp_path / "summary.md")
    assert done.returncode == code, done.stderr
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith(f"## {measured.name}: {word}\n")
    assert word in done.stdout
    if code == 3:
        assert "about 1000 items would tell" in summary


def test_the_interval_that_decides_stands_beside_that_of_95_per_cent(measured: Path, tmp_path: Path) -> None:
    """With 20 rules a loss is called by a wider interval: a rule that the plain one breaks would look like a mistake otherwise."""
    tasks = {"pick": {"floor": 0.72}}  # between both limits
    done = compare(
        measured, "--policy", policy(tmp_path, margin=0.9, tasks=tasks), "--summary", tmp_path / "summary.md"
    )
    assert ", widened [" in done.stdout
    assert "Lost: the whole interval that is widened for the number of rules breaks it." in " ".join(
        done.stdout.split()
    )
    summary = (tmp_path / "summary.md").read_text()
    assert "| rule | measured [95 %] | widened for 2 rules | items | outcome |" in summary
    row = next(line for line in summary.splitlines() if "at least 72" in line)
    plain, wide = ([float(end) for end in ends.split(", ")] for ends in re.findall(r"\[(.*?)\]", row))
    assert wide[0] < plain[0] < plain[1] < wide[1]
    records = [
        json.loads(line)
        for line in compare(measured, "--policy", tmp_path / "holdfast.yaml", "--json").stdout.splitlines()
    ]
    assert all(record["widened"]["high"] > record["measured"]["high"] for record in records)


def test_records_say_each_rule(measured: Path, tmp_path: Path) -> None:
    done = compare(measured, "--policy", policy(tmp_path, margin=0.9), "--json")
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (record["rule"], record["outcome"]) == ("pick (0-shot): loses less than 12.5 points", "kept")


def altered(measured: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The folder of the numbers, and the world that they were measured in, both free to be changed."""
    world = tmp_path / "world"
    shutil.copytree(measured.parent, world)
    evidence = world / "out" / "evidence.json"
    evidence.write_text(evidence.read_text().replace(str(measured.parent), str(world)))
    return world / "out", world


@pytest.mark.parametrize("change", ["tuned/config.json", "model/config.json", "pick/test.jsonl", "out/scores.jsonl"])
def test_stale_evidence_is_refused(change: str, measured: Path, tmp_path: Path) -> None:
    folder, world = altered(measured, tmp_path)
    rules = policy(tmp_path, margin=0.9)
    gate([folder], rules)  # as it is, it is fresh
    path = world / change
    content = path.read_text()
    # Another byte of the model, the task or the numbers, which no number on the page would show.
    path.write_text(content.replace("w9", "w10", 1) if change.startswith("pick") else content + "\n")
    with pytest.raises(ValueError, match=r"(has changed since|is not as) it was measured"):
        gate([folder], rules)


def test_what_is_no_longer_here_is_said_and_not_taken_for_fresh(measured: Path, tmp_path: Path) -> None:
    folder, world = altered(measured, tmp_path)
    shutil.rmtree(world / "tuned")
    (judged,) = gate([folder], policy(tmp_path, margin=0.9))
    assert judged.unchecked == [f"{world / 'tuned'} is not here"]


def test_an_error_is_written_into_the_summary_too(measured: Path, tmp_path: Path) -> None:
    """A comment on a pull request would else show what an earlier build has left in the file."""
    folder, world = altered(measured, tmp_path)
    (world / "tuned" / "config.json").write_text("{}")
    summary = tmp_path / "summary.md"
    summary.write_text("## out: kept")
    done = compare(folder, "--policy", policy(tmp_path, margin=0.9), "--summary", summary)
    assert done.returncode == 1
    assert summary.read_text().startswith("## Not judged\n")
    assert "has changed since it was measured; measure again" in summary.read_text()


def test_numbers_without_evidence_are_refused(measured: Path, tmp_path: Path) -> None:
    folder, _ = altered(measured, tmp_path)
    (folder / "evidence.json").unlink()
    with pytest.raises(ValueError, match="nothing says what its numbers were measured on"):
        gate([folder], policy(tmp_path))


def test_a_floor_and_a_policy_are_not_given_together(measured: Path, tmp_path: Path) -> None:
    done = compare(measured, "--policy", policy(tmp_path), "--floor", "0.9")
    assert done.returncode == 1
    assert "--floor" in done.stderr


def test_the_example_for_github_actions_is_a_workflow_that_runs_these_commands() -> None:
    text = (ROOT / "docs" / "gate.md").read_text()
    (example,) = [part.split("```")[0] for part in text.split("```yaml\n# .github/workflows/")[1:]]
    workflow = yaml.safe_load("# " + example)
    # YAML reads the key `on` as true.
    assert set(workflow[True]) == {"pull_request"}
    (job,) = workflow["jobs"].values()
    steps = job["steps"]
    commands = [line.strip() for step in steps for line in step.get("run", "").splitlines()]
    ours = [line for line in commands if line.startswith("holdfast ")]
    assert [line.split()[1] for line in ours] == ["evaluate", "compare"]
    assert all("uses" in step or "run" in step for step in steps)
    for line in ours:
        command = [sys.executable, "-m", "holdfast", line.split()[1], "--help"]
        known = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
        for option in (word for word in line.split() if word.startswith("--")):
            assert option in known, f"{line}: there is no {option}"
